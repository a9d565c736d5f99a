"""The finals: trained as the race asks, once each, whoever trains them and whenever they are interrupted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.objectives.config import BackboneSpec, TrialConfig
from frostline.objectives.errors import InvalidInputError, TrainingFailedError
from frostline.objectives.finetune import FinetuneResult, finetune
from frostline.objectives.networks import BackbonePool
from frostline.search.analysis import run_race
from frostline.search.cli.results_json import describe
from frostline.search.execution import logged_training
from frostline.search.execution.run import SearchInterrupted, rerun_finals, resume, run_search
from frostline.search.records import FinalScores, best_trials
from frostline.search.slots.resources import Resources
from frostline.search.study.finalists import find_default
from frostline.search.study.observer import Observer
from frostline.search.study.progress import progress_sentence
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

# Only feature extraction cannot learn the digits with random weights; the others are alike.
SPACE = """
[shared]
epochs = 5
batch_size = 16
augmentation = "none"

[feature_extraction]
learning_rate = 1e-5

[full]
learning_rate = 1.5e-2

[scratch]
learning_rate = 1.5e-3
"""
CPU = Resources("cpu")


def request(root: Path, **more: Any) -> Request:
    """A search of default configurations only, whose race goes on while the verdict is undecided."""
    space = root / "space.toml"
    space.write_text(SPACE)
    values: dict[str, Any] = {"backbone": "tiny_network:create", "weights": "none", "image_size": 32, "space": space}
    values |= {"name": "tiny", "trials": 3, "finals_seeds": 4, "indifference": 0.0, "device": "cpu"}
    return Request(data=few_digits(120), **{**values, **more})


def trained(study: Study) -> dict[tuple[str, int], list[list[float]]]:
    """Probabilities of every final, to the last bit."""
    return {(final.strategy, final.seed): final.probabilities.tolist() for final in study.final_records()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("finished")
    return run_search(request(root), Workspace(root))


def test_every_final_has_its_costs(finished: Study) -> None:
    tensors = BackbonePool(BackboneSpec("tiny_network:create", "none", 32)).pretrained.model.state_dict()
    # The backbone, and a head from its 24 features to three classes.
    size = sum(value.nbytes for name, value in tensors.items() if not name.startswith("fc.")) + 4 * 3 * (24 + 1)
    for final in finished.final_records():
        assert final.size == size
        assert 0 < (final.latency or 0) < final.seconds
        assert 0 < (final.device_seconds or 0) < 3 * final.seconds
    verdict = finished.results().verdict
    assert verdict is not None
    contenders = describe(finished.results())["verdict"]["contenders"]
    for contender, shown in zip(verdict.contenders, contenders, strict=True):
        own = [final for final in finished.final_scores() if final.strategy == contender.strategy]
        assert shown["latency"] == pytest.approx(np.median([final.latency or 0.0 for final in own]))
        assert shown["device_seconds"] == pytest.approx(np.mean([final.device_seconds or 0.0 for final in own]))
        assert shown["size_mb"] == pytest.approx(size / 1e6)


def test_the_race_decides_which_seeds_are_trained(finished: Study) -> None:
    results = finished.results()
    seeds = Counter(final.strategy for final in results.finals)
    assert seeds == {"feature_extraction": 2, "full": 4, "scratch": 4}
    assert finished.final_tickets.counts() == (10, 10)
    assert finished.complete()
    assert results.verdict is not None
    assert results.verdict.undecided
    assert [each.strategy for each in results.verdict.contenders if not each.tied] == ["feature_extraction"]
    rules = finished.settings.race_rules
    assert results.verdict == run_race(results.finals, list(seeds), "accuracy", rules).verdict


@pytest.mark.slow
def test_without_a_race_all_get_all_seeds_and_the_shared_ones_are_the_same(finished: Study, tmp_path: Path) -> None:
    study = run_search(request(tmp_path, racing=False), Workspace(tmp_path))
    every, raced = trained(study), trained(finished)
    assert len(every) == 12
    assert every.items() >= raced.items()


@pytest.mark.slow  # Slots that share finals are quick in the test of candidates.
def test_two_workers_train_what_one_trains(finished: Study, tmp_path: Path, thread_engine: str) -> None:
    study = run_search(request(tmp_path, workers=2, engine=thread_engine), Workspace(tmp_path))
    assert trained(study).keys() == trained(finished).keys()
    for key, probabilities in trained(finished).items():
        np.testing.assert_allclose(trained(study)[key], probabilities, atol=1e-5)
    assert study.final_tickets.counts() == (10, 10)


class Interrupting(Observer):
    """Ctrl-C after a number of finals."""

    def __init__(self, after: int) -> None:
        self.left = after

    def final_finished(self, final: FinalScores) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


# At the end of the first round, and after the last final.
@pytest.mark.parametrize("after", [6, pytest.param(10, marks=pytest.mark.slow)])
def test_an_interrupted_race_goes_on_as_if_it_had_not_been(finished: Study, tmp_path: Path, after: int) -> None:
    with pytest.raises(SearchInterrupted):
        run_search(request(tmp_path), Workspace(tmp_path), Interrupting(after))
    study = Study.load("tiny", Workspace(tmp_path))
    assert not study.decided()
    left = study.results()
    assert left.verdict is None
    assert (left.state, left.workers, left.running_finals) == ("finals", 0, 0)
    # After the first round, the two that go on need two more each.
    assert left.missing_finals == 10 - after
    said = f"finals: {after} trained, 0 running, {10 - after} more in this round. No worker is running. "
    assert progress_sentence(left, " -w x") == f"All trials have ended; {said}Resume it: frostline resume tiny -w x"
    study = rerun_finals("tiny", Workspace(tmp_path), resources=CPU)
    assert trained(study) == trained(finished)
    assert study.decided()
    assert study.results().state == "finished"
    assert progress_sentence(study.results()) == ""
    assert told(study) == told(finished)


@pytest.mark.slow  # That raised seeds reopen a race is quick.
def test_more_seeds_reopen_an_ended_race_which_keeps_its_finals(finished: Study, tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    short = run_search(request(tmp_path, finals_seeds=2), place)
    before = trained(short)
    assert len(before) == 6
    assert short.decided()
    with pytest.raises(InvalidInputError, match="--seeds 1 is below the study's 2"):
        resume("tiny", place, seeds=1, resources=CPU)
    trainings = Counting()
    study = resume("tiny", place, trainings, seeds=4, resources=CPU)
    settings = Study.load("tiny", place).settings
    assert (settings.finals_seeds, settings.earlier_seeds) == (4, (2,))
    assert study.decided()
    # The trainings are those of a race that had four from the first.
    assert trained(study) == trained(finished)
    assert trainings.finals == len(trained(finished)) - len(before)


class Counting(Observer):
    """Counts finals."""

    def __init__(self) -> None:
        self.finals = 0

    def final_finished(self, final: FinalScores) -> None:
        self.finals += 1


def told(study: Study) -> list[Any]:
    """The verdict without wall times."""
    verdict = study.results().verdict
    assert verdict is not None
    return [(each.strategy, each.scores, each.gap) for each in verdict.contenders]


def test_the_end_of_a_race_counts_for_its_finalists_only(finished: Study) -> None:
    study = Study.load("tiny", finished.workspace)
    names = study.race_ended
    assert study.decided()
    try:
        # More trials have found a better configuration, say.
        study.end_race([name.replace("full-", "full-9") for name in names])
        assert not study.decided()
        assert study.results().verdict is None
    finally:
        study.end_race(names)
    assert study.decided()


def test_a_study_of_before_the_race_trains_all_seeds(finished: Study) -> None:
    settings = finished.settings.model_dump(exclude={"racing", "indifference"})
    older = type(finished.settings).model_validate(settings)
    assert not older.racing
    assert older.race_rules == replace(finished.settings.race_rules, racing=False, indifference=0.01)


def test_candidates_are_trained_once_before_the_finalist_gets_its_other_seeds(
    tmp_path: Path, thread_engine: str
) -> None:
    (tmp_path / "wide.toml").write_text("[shared]\nepochs = 3\nbatch_size = 16\n\n[full]\n\n[scratch]\n")
    wide = {"space": tmp_path / "wide.toml", "trials": 8, "finals_seeds": 2, "candidates": 3}
    study = run_search(request(tmp_path, **wide, workers=2, engine=thread_engine), Workspace(tmp_path))
    results = study.results()
    trainings = Counter(final.finalist for final in study.final_records())
    # Two or three of each strategy: the default may be among the best two.
    candidates = {each.identity: each for each in study.candidates(study.trials())}
    assert 4 <= len(candidates) <= 6
    assert trainings.keys() <= candidates.keys()
    once = dict.fromkeys(trainings, 1)
    assert trainings == once | {final.finalist: 2 for final in results.finals}
    # Nobody else was trained if the best is the default, and the second best could not come to lead.
    assert {final.seed for final in results.candidate_finals} <= {1000}
    assert {final.seed for final in results.finals} == {1000, 1001}
    for strategy in ("full", "scratch"):
        fresh = {
            final.trial_number: final.val_score
            for final in study.final_scores()
            if final.strategy == strategy and final.seed == 1000
        }
        means = {number: (study.trial(number).score or 0.0) + fresh[number] for number in fresh}
        default = find_default(study.settings, study.trials(), strategy)
        assert default is not None
        assert default.number in means or default.state != "complete"
        assert means[results.finalists[strategy].number] == max(means.values())
        for identity in candidates.keys() - trainings.keys():
            left_out = candidates[identity].trial
            # With a fresh score of 4 points more than the search's, it would not have come to lead.
            assert left_out.strategy != strategy or 2 * (left_out.score or 0.0) + 0.04 < max(means.values())
    assert study.decided()
    assert len(results.selection) == 2
    again = resume("tiny", Workspace(tmp_path), Counting(), resources=CPU)
    assert trained(again) == trained(study)


def test_a_configuration_that_fails_when_it_is_trained_again_gives_its_place_to_the_next_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wide.toml").write_text("[shared]\nepochs = 3\nbatch_size = 16\n\n[full]\n\n[scratch]\n")
    wide = {"space": tmp_path / "wide.toml", "trials": 8, "finals_seeds": 1, "candidates": 1}
    failed: list[float] = []

    def flaky(config: TrialConfig, *args: Any, seed: int, **options: Any) -> FinetuneResult:
        if seed == 1000 and config.strategy == "full" and not failed:
            failed.append(config.learning_rate)
            raise TrainingFailedError("training loss is nan in epoch 1")
        return finetune(config, *args, seed=seed, **options)

    monkeypatch.setattr(logged_training, "finetune", flaky)
    study = run_search(request(tmp_path, **wide), Workspace(tmp_path))
    trials = study.trials()
    first, second = (each for each in best_trials([trial for trial in trials if trial.strategy == "full"])[:2])
    assert first.config["learning_rate"] == failed[0]
    assert first.final_failed == "training loss is nan in epoch 1"
    results = study.results()
    assert results.finalists["full"].number == second.number
    assert study.decided()
    assert results.verdict is not None
    assert any(f"trial {first.number}, full, failed when it was trained again" in each for each in results.warnings)
    # It is not tried again, nor missed.
    assert len(failed) == 1
    assert trained(rerun_finals("tiny", Workspace(tmp_path), resources=CPU)) == trained(study)


def test_a_strategy_whose_configurations_all_fail_again_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flaky(config: TrialConfig, *args: Any, seed: int, **options: Any) -> FinetuneResult:
        if seed >= 1000 and config.strategy == "full":
            raise TrainingFailedError("training loss is nan in epoch 1")
        return finetune(config, *args, seed=seed, **options)

    monkeypatch.setattr(logged_training, "finetune", flaky)
    results = run_search(request(tmp_path), Workspace(tmp_path)).results()
    assert results.verdict is not None
    assert {each.strategy for each in results.verdict.contenders} == {"feature_extraction", "scratch"}
    said = "full is not judged: its only trial failed when it was trained again (training loss is nan in epoch 1)."
    assert said in results.warnings
