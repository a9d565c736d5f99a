"""Trials over folds: the mean of separate trainings, each fold once, whoever interrupts them and whenever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from safetensors.torch import save_file

from frostline.objectives import finetune as training
from frostline.objectives.calibration import fit_temperature
from frostline.objectives.config import BackboneSpec
from frostline.objectives.data import ImageDataset, ImageSplit
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.features import FeatureStore
from frostline.objectives.finetune import Task, finetune
from frostline.objectives.networks import BackbonePool, FrozenPrefix
from frostline.search.api.study import Study as ReadStudy
from frostline.search.execution import started_trial
from frostline.search.execution.device_time import BudgetSpentError
from frostline.search.execution.run import SearchInterrupted, run_search
from frostline.search.export.trial_script import write_script
from frostline.search.records import TrialRecord, mean_score
from frostline.search.study import restore_config
from frostline.search.study.observer import Observer
from frostline.search.study.request import Request
from frostline.search.study.resume import reopen
from frostline.search.study.study import Study
from frostline.storage.timing import Timing
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

FOLDS = 3
SPACE = """
[shared]
epochs = 3
batch_size = 16

[feature_extraction]
augmentation = "none"
learning_rate = { low = 1e-3, high = 1e-1, log = true }

[full]
augmentation = "flip_crop"
views = 2
learning_rate = 1e-2
"""


def request(root: Path, **more: Any) -> Request:
    (root / "space.toml").write_text(SPACE)
    values: dict[str, Any] = {"backbone": "tiny_network:create", "weights": "none", "image_size": 32}
    values |= {"space": root / "space.toml", "name": "tiny", "trials": 4, "finals_seeds": 2, "folds": FOLDS}
    return Request(data=few_digits(90), **{"device": "cpu", "racing": False, "candidates": 1, **values, **more})


class Prefixes:
    """Counts how many images passed through frozen units."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.images = 0
        kept = FrozenPrefix.kept

        def counted(prefix: FrozenPrefix, images: torch.Tensor) -> torch.Tensor:
            self.images += len(images)
            return kept(prefix, images)

        patch.setattr(FrozenPrefix, "kept", counted)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("undisturbed")
    return run_search(request(root), Workspace(root))


def reopened(study: Study) -> tuple[ImageDataset, BackbonePool]:
    prepared = reopen(study, Observer(), trains=False)
    return prepared.dataset, prepared.backbones


def plain(split: ImageSplit) -> ImageSplit:
    """A split of the same images that knows nothing of a whole one."""
    return ImageSplit(
        split.canvas, split.indices, split.labels, split.classes, split.preprocessing, f"own {split.fingerprint}"
    )


def uncached(study: Study, train: ImageSplit, val: ImageSplit, backbones: BackbonePool) -> Task:
    return Task(train, val, backbones, study.settings.metric, torch.device("cpu"), FeatureStore(0))


def test_a_trial_scores_the_mean_of_separate_trainings(undisturbed: Study) -> None:
    dataset, backbones = reopened(undisturbed)
    complete = [trial for trial in undisturbed.trials() if trial.state == "complete"]
    first = {trial.strategy: trial for trial in reversed(complete)}
    assert set(first) == {"feature_extraction", "full"}
    for strategy, trial in first.items():
        own = plain if strategy == "feature_extraction" else lambda split: split
        scores = [
            finetune(restore_config(trial.config), uncached(undisturbed, own(train), own(val), backbones), seed=0).score
            for train, val in dataset.folds()
        ]
        assert [fold.score for fold in trial.folds] == scores
        assert trial.score == pytest.approx(np.mean(scores), abs=1e-12)
        assert trial.curve == {place: np.mean(scores[: place + 1]) for place in range(FOLDS)}
        assert (trial.epochs, trial.epochs_trained) == (FOLDS, sum(fold.epochs for fold in trial.folds))
        assert trial.seconds == pytest.approx(sum(fold.measured["seconds"] for fold in trial.folds))


def test_seeds_of_the_finals_validate_on_one_fold_after_the_other(undisturbed: Study) -> None:
    dataset, backbones = reopened(undisturbed)
    folds, test = dataset.folds(), dataset.open_test()
    assert undisturbed.facts.folds == tuple(len(val) for _, val in folds)
    assert undisturbed.facts.val_images == sum(undisturbed.facts.folds)
    trials = {trial.number: trial for trial in undisturbed.trials()}
    finals = [final for final in undisturbed.final_records() if final.strategy == "feature_extraction"]
    assert [final.seed for final in finals] == [1000, 1001]
    for final in finals:
        train, val = folds[final.seed - 1000]
        task = uncached(undisturbed, plain(train), plain(val), backbones)
        own = finetune(restore_config(trials[final.trial_number].config), task, seed=final.seed)
        assert own.score == final.val_score
        assert fit_temperature(own.val_probabilities, val.labels) == final.temperature
        assert np.array_equal(training.predict(own.network, test, task), final.probabilities)


def outcomes(study: Study) -> list[tuple[Any, ...]]:
    """What a study's trials came to, to the last digit."""
    return [
        (trial.number, trial.state, trial.strategy, trial.config, trial.score, trial.curve, fold_scores(trial))
        for trial in study.trials()
    ]


def fold_scores(trial: TrialRecord) -> list[tuple[float, int]]:
    return [(fold.score, fold.epochs) for fold in trial.folds]


def finals(study: Study) -> dict[tuple[str, int, int], list[list[float]]]:
    return {final.identity: final.probabilities.tolist() for final in study.final_records()}


@pytest.mark.parametrize("epoch", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_interrupted_in_a_later_fold_and_resumed_is_undisturbed(
    epoch: int, tmp_path: Path, undisturbed: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workspace(tmp_path, timing=Timing(checkpoint=0.0))
    real = started_trial.StartedTrial._on_epoch_of_fold

    def interrupt(started: Any, result: Any) -> None:
        real(started, result)
        # In the last fold of the second trial: its first epoch has no checkpoint yet, only the fold before it.
        ended = len(started.trial.user_attrs.get("frostline:folds", ()))
        if (started.trial.number, ended, result.epoch) == (1, FOLDS - 1, epoch):
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(started_trial.StartedTrial, "_on_epoch_of_fold", interrupt)
    with pytest.raises(SearchInterrupted):
        run_search(request(tmp_path), place)
    before = Study.load("tiny", Workspace(tmp_path))
    assert len(before.trial(1).folds) == FOLDS - 1
    before.close()
    trained: list[str] = []
    monkeypatch.setattr(
        training,
        "_identity",
        lambda *args, real=training._identity: trained.append(args[1].val.fingerprint) or real(*args),
    )
    ended = run_search(request(tmp_path), place)
    assert outcomes(ended) == outcomes(undisturbed)
    assert finals(ended) == finals(undisturbed)
    # The folds that had ended are not trained again.
    assert "/fold 3 " in trained[0]


def stopped_after(folds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, by_budget: bool) -> TrialRecord:
    """The second trial of a study in which it ends after some folds."""

    def require(started: started_trial.StartedTrial) -> None:
        if started.trial.number == 1 and len(started.progress.reported) == folds:
            raise BudgetSpentError if by_budget else optuna.TrialPruned

    monkeypatch.setattr(started_trial.StartedTrial, "_require_promising", require)
    return run_search(request(tmp_path, trials=3, finals_seeds=1, audit=False), Workspace(tmp_path)).trial(1)


@pytest.mark.parametrize("by_budget", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_trial_may_end_between_folds_with_the_mean_of_those_it_has(
    by_budget: bool, tmp_path: Path, undisturbed: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, whole = stopped_after(2, monkeypatch, tmp_path, by_budget=by_budget), undisturbed.trial(1)
    assert (trial.state, len(trial.folds), trial.epochs) == ("pruned", 2, FOLDS)
    assert trial.config == whole.config
    assert fold_scores(trial) == fold_scores(whole)[:2]
    assert trial.score == mean_score(whole.folds[:2])
    assert trial.curve == {place: whole.curve[place] for place in range(2)}
    # The pruner's left what trailed; what the budget ended may lead.
    assert trial.ranked == by_budget
    assert trial.reason == (f"the budget ended after fold 2 of {FOLDS}" if by_budget else None)


def test_features_are_computed_once_for_all_folds_and_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "tiny.safetensors"
    save_file(BackbonePool(BackboneSpec("tiny_network:create", "none", 32)).pretrained.model.state_dict(), weights)
    counted = Prefixes(monkeypatch)
    monkeypatch.setattr("frostline.objectives.features.feature_store.is_worth_keeping", lambda *_: True)
    monkeypatch.setattr("frostline.search.execution.run.complete_nearness", lambda *_: None)
    one = {"strategies": ("feature_extraction",), "trials": 2, "finals_seeds": 1, "weights": str(weights)}
    study = run_search(request(tmp_path, **one), Workspace(tmp_path))
    outside, test = sum(study.facts.folds), study.facts.counts["test"]
    # The test images twice: for the audit, and for the final. Further ones are the noise by which a prefix is measured.
    measured = counted.images - outside - 2 * test
    assert measured % 32 == 0
    assert 0 <= measured <= 64
    assert all(len(trial.folds) == FOLDS for trial in study.trials())


def test_the_search_sees_no_test_image(undisturbed: Study) -> None:
    dataset, _ = reopened(undisturbed)
    test = set(dataset.open_test().indices.tolist())
    for train, val in dataset.folds():
        assert not test & {*train.indices.tolist(), *val.indices.tolist(), *train.whole.indices.tolist()}


def test_a_script_of_a_trial_over_folds_is_refused(undisturbed: Study) -> None:
    with pytest.raises(InvalidInputError, match="divided into folds"):
        write_script(undisturbed)


def test_python_and_study_files_ask_for_folds_and_read_them(undisturbed: Study, tmp_path: Path) -> None:
    assert Request.create("photos", folds=5).folds == 5
    (tmp_path / "study.toml").write_text('[study]\ndata = "photos"\nfolds = 4\n')
    assert Request.read(tmp_path / "study.toml").folds == 4
    table, trials = ReadStudy(undisturbed).folds, undisturbed.trials()
    assert list(table.columns) == ["number", "strategy", "fold", "score", "epochs", "seconds"]
    assert [tuple(row) for row in table[["number", "fold", "score", "epochs"]].itertuples(index=False)] == [
        (trial.number, place, fold.score, fold.epochs) for trial in trials for place, fold in enumerate(trial.folds, 1)
    ]


def test_the_finals_may_cost_what_the_trials_did_and_one_costs_a_training_of_its_trial(undisturbed: Study) -> None:
    results = undisturbed.results()
    costs = results._race_costs()
    for strategy, trial in results.finalists.items():
        assert costs.each[strategy] == pytest.approx(results._cost(trial) / FOLDS)
    assert costs.limit >= FOLDS * sum(costs.each.values())
