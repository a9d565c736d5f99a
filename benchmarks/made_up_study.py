"""A finished study made up from records: trials of all strategies, scores by lot, finals that were never trained."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from frostline.search.execution.batches import AskedTrial, TrialBatches
from frostline.search.execution.started_trial import active_parameters
from frostline.search.execution.worker import open_worker
from frostline.search.records import FinalRecord
from frostline.search.space import COMPETING, create_space, default_tables, resolve_space
from frostline.search.study import OUTCOME, STARTED, Study, StudyFacts, StudySettings
from frostline.storage.workspace import Workspace

UNITS, TEST_IMAGES, EPOCHS, SEEDS = 9, 400, 8, 3
COUNTS = {"train": 1000, "val": 200, "test": TEST_IMAGES}


def create_study(
    name: str, workspace: Workspace, trials: int, *, units: int, seeds: int = 1, counts: dict[str, int] | None = None
) -> Study:
    """A study of the default space, without data: nothing is trained.

    Args:
        name: Of the study.
        workspace: Where it is kept.
        trials: How many.
        units: Of its network.
        seeds: Of its finals.
        counts: Number of images by split.
    """
    settings = StudySettings(
        name=name,
        data="none",
        backbone="none",
        weights="none",
        image_size=32,
        trials=trials,
        metric="accuracy",
        seed=0,
        finals_seeds=seeds,
        space=resolve_space(create_space(default_tables(1000)).only(COMPETING), units),
    )
    shares = tuple(place / units for place in range(units + 1))
    names = tuple(f"unit{place}" for place in range(units))
    return Study.create(settings, StudyFacts(("a", "b"), counts or {}, "", (), names, shares), workspace, None)


def make_study(name: str, workspace: Workspace, trials: int) -> Study:
    """Make one; it is as finished as one that was searched.

    Args:
        name: Of the study.
        workspace: Where it is kept.
        trials: How many.
    """
    study = create_study(name, workspace, trials, units=UNITS, seeds=SEEDS, counts=COUNTS)
    rng = np.random.default_rng(0)
    _run_trials(study, rng)
    _run_finals(study, rng)
    study.end_race({finalist.identity for finalist in study.candidates(study.trials())})
    study.close()
    return study


def _run_trials(study: Study, rng: np.random.Generator) -> None:
    with open_worker(study) as worker:
        # Sampling takes most of the time, and its results do not matter.
        worker._optuna.sampler = optuna.samplers.RandomSampler(seed=0)
        batches = TrialBatches(worker)
        batches._at_once = 200
        while batch := batches.next():
            for each in batch:
                if not isinstance(each, AskedTrial):
                    worker.tell(each.trial, None, TrialState.FAIL)
                    continue
                top = 0.9 - abs(rng.normal(0, 0.1))
                for epoch in range(EPOCHS):
                    each.trial.report(float(top * (1 - 0.5 * np.exp(-epoch))), epoch)
                config = active_parameters(each.planned)
                each.trial.set_user_attr(STARTED, {"config": config, "epochs": EPOCHS})
                outcome: dict[str, Any] = {"seconds": float(rng.uniform(5, 50)), "trainable_parameters": 1000}
                each.trial.set_user_attr(OUTCOME, outcome | {"freeze_depth": each.planned.phases[-1].freeze_depth})
                worker.tell(each.trial, float(top), TrialState.COMPLETE)


def _run_finals(study: Study, rng: np.random.Generator) -> None:
    labels = np.arange(TEST_IMAGES) % 2
    while due := study.results().due:
        study.final_tickets.issue_for([finalist.subject for finalist in due])
        with open_worker(study) as worker:
            every = {finalist.subject: finalist for finalist in study.candidates(study.trials())}
            while (lease := worker.claim_final()) is not None:
                finalist = every[str(lease.subject)]
                right = rng.random(TEST_IMAGES) < 0.85
                sure = np.where(right, labels, 1 - labels)
                final = FinalRecord(
                    strategy=finalist.strategy,
                    trial_number=finalist.trial.number,
                    seed=finalist.seed,
                    val_score=0.85,
                    test_score=float(right.mean()),
                    seconds=timedelta(seconds=30).total_seconds(),
                    trainable_parameters=1000,
                    labels=labels,
                    probabilities=(0.2 + 0.6 * np.eye(2)[sure]).astype(np.float32),
                )
                study.finals.add(
                    finalist.identity, final.seed, final.to_row(), final.labels, final.probabilities, lease
                )
                worker.ended_final(lease)
