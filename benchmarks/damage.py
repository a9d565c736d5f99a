"""What is wrong with a study that was disturbed: everything in it is counted, and trained again undisturbed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import torch

from frostline.objectives.devices import feature_budget
from frostline.objectives.features import FeatureStore
from frostline.objectives.finetune import Task, finetune, predict
from frostline.search.records import FINISHED
from frostline.search.study import Observer, Study, precision_of, reopen, restore_config
from frostline.search.tracking import SCORE_CURVE
from frostline.storage.workspace import Workspace


@dataclasses.dataclass
class Damage:
    """What must be zero.

    Attributes:
        lost: Trials of the budget that did not finish.
        doubled: Trials above the budget, or numbers that two have.
        running: Trials or runs that seem to be at work although nobody is.
        failed: Trials that ended otherwise than complete or pruned.
        runs: Trials and finals without exactly one MLflow run.
        steps: Epochs that an MLflow run lacks or has twice.
        scores: Trials whose curve is another than alone and undisturbed.
        finals: Finals whose predictions are others than alone and undisturbed.
    """

    lost: int
    doubled: int
    running: int
    failed: int
    runs: int
    steps: int
    scores: int
    finals: int


def judge(name: str, workspace: Workspace, budget: int) -> Damage:
    """Look at what is left of a study, and train everything again."""
    torch.set_num_threads(1)
    study = Study.load(name, workspace)
    prepared = reopen(study, Observer())
    trials = study.trials()
    numbers = Counter(trial.number for trial in trials)
    device, metric = torch.device("cpu"), study.settings.metric
    train, val = prepared.dataset.search_splits()
    store, precision = FeatureStore(feature_budget(device)), precision_of(study.facts, device)
    task = Task(train, val, prepared.backbones, metric, device, store, precision=precision)
    scores = 0
    for trial in trials:
        curve = {}
        if trial.state in ("complete", "pruned"):
            result = finetune(restore_config(trial.config), task, seed=study.settings.seed)
            curve = {epoch.epoch: epoch.score for epoch in result.epochs}
            curve = {epoch: score for epoch, score in curve.items() if epoch in trial.curve}
        scores += curve != trial.curve
    finals, configs = 0, {trial.number: trial.config for trial in trials}
    for final in study.final_records():
        result = finetune(restore_config(configs[final.trial_number]), task, seed=final.seed)
        again = predict(result.network, prepared.dataset.open_test(), task)
        finals += not np.array_equal(again, final.probabilities)
    curves = {f"trial-{trial.number}": trial.curve for trial in trials}
    # A configuration that failed when it was trained again has a run, and no final.
    failed = sum(trial.final_failed is not None for trial in trials)
    runs, steps, unended = _judge_runs(study, curves, len(study.final_records()) + failed)
    damage = Damage(
        lost=budget - sum(trial.state in FINISHED for trial in trials),
        doubled=max(0, len(trials) - budget) + sum(count - 1 for count in numbers.values()),
        running=sum(trial.state == "running" for trial in trials) + len(study.tickets.held()) + unended,
        failed=sum(trial.state == "failed" for trial in trials),
        runs=runs,
        steps=steps,
        scores=scores,
        finals=finals,
    )
    study.close()
    return damage


def _judge_runs(study: Study, curves: dict[str, dict[int, float]], finals: int) -> tuple[int, int, int]:
    """Keys without exactly one run, steps that are missing or doubled, runs that never ended."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=study.tracking_uri or study.workspace.tracking_url)
    experiment = client.get_experiment_by_name(study.settings.name)
    assert experiment is not None
    every = client.search_runs([experiment.experiment_id], max_results=5000)
    found: dict[str, list[Any]] = {}
    for run in every:
        found.setdefault(run.data.tags.get("frostline.key", ""), []).append(run)
    keys = [*curves, *(key for key in found if key.startswith("final-"))]
    wrong = sum(len(found.get(key, [])) != 1 for key in keys)
    wrong += abs(finals - sum(key.startswith("final-") for key in found))
    steps = 0
    for key, curve in curves.items():
        for run in found.get(key, [])[:1]:
            logged = Counter(point.step for point in client.get_metric_history(run.info.run_id, SCORE_CURVE))
            steps += sum(abs(logged[step] - 1) for step in {*logged, *curve})
    return wrong, steps, sum(run.info.status == "RUNNING" for run in every)
