"""Finalists: chosen among the best trials and the default by a fresh training, never by a test score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from frostline.search.records import FinalScores, FoldRecord, TrialRecord
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.finalists import (
    choose_finalists,
    due_candidates,
    find_default,
    list_candidates,
    place_of_final,
)
from frostline.search.study.settings import StudySettings

SPACE = {
    "full": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True, "default": 1e-3}},
    "scratch": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True, "default": 1e-2}},
}


def make_settings(candidates: int) -> StudySettings:
    return StudySettings(
        name="flowers",
        data="photos",
        backbone="resnet18",
        weights="none",
        image_size=64,
        trials=6,
        metric="accuracy",
        seed=7,
        finals_seeds=4,
        candidates=candidates,
        space=resolve_space(create_space(SPACE), 3),
    )


def trial(number: int, score: float | None, rate: float, strategy: str = "full", **known: Any) -> TrialRecord:
    config = {"strategy": strategy, "learning_rate": rate, "epochs": 9}
    return TrialRecord(number, known.pop("state", "complete"), strategy, config, score, **known)


# The default is the third best of four.
TRIALS = [trial(0, 0.70, 1e-3), trial(1, 0.60, 2e-3), trial(2, 0.80, 3e-3), trial(3, 0.90, 4e-3)]


def fresh(number: int, val_score: float, seed: int = 1007, test_score: float = 0.5) -> FinalScores:
    return FinalScores("full", number, seed, val_score, test_score, 1.0, 1)


@pytest.mark.parametrize(
    ("candidates", "numbers"), [(1, [3]), (2, [3, 0]), (3, [3, 2, 0]), (4, [3, 2, 0]), (9, [3, 2, 0, 1])]
)
def test_candidates_are_the_best_trials_and_the_default(candidates: int, numbers: list[int]) -> None:
    listed = list_candidates(make_settings(candidates), TRIALS, None)
    assert list(dict.fromkeys(each.trial.number for each in listed)) == numbers
    assert [each.seed for each in listed if each.trial.number == 3] == [1007, 1008, 1009, 1010]


def test_a_default_that_is_not_complete_is_no_candidate() -> None:
    pruned = [trial(0, 0.7, 1e-3, state="pruned"), *TRIALS[1:]]
    assert [each.trial.number for each in list_candidates(make_settings(3), pruned, None) if each.place == 0] == [
        3,
        2,
        1,
    ]
    assert find_default(make_settings(3), TRIALS, "full") is TRIALS[0]
    assert find_default(make_settings(3), [trial(4, 0.5, 1e-3, "scratch")], "scratch") is None


def test_the_finalist_has_the_best_mean_of_both_validation_scores() -> None:
    settings = make_settings(3)
    assert choose_finalists(settings, TRIALS, None, []) == {}
    # One candidate is missing; that of another seed does not count.
    some = [fresh(3, 0.70, test_score=0.9), fresh(2, 0.85, test_score=0.1), fresh(0, 0.9, seed=1008)]
    assert choose_finalists(settings, TRIALS, None, some) == {}
    # 0.80, 0.825, 0.80.
    assert choose_finalists(settings, TRIALS, None, [*some, fresh(0, 0.90)]) == {"full": TRIALS[2]}
    # Of equals, the best of the search.
    equal = [fresh(3, 0.7), fresh(2, 0.8), fresh(0, 0.9)]
    assert choose_finalists(settings, TRIALS, None, equal) == {"full": TRIALS[3]}


def test_the_best_and_the_default_are_trained_again_then_what_may_still_lead_one_at_a_time() -> None:
    settings = make_settings(9)

    def due(*finals: FinalScores) -> set[int]:
        numbers = due_candidates(settings, TRIALS, None, finals)
        # Nobody is the finalist while somebody is due.
        assert (choose_finalists(settings, TRIALS, None, finals) == {}) == bool(numbers)
        return numbers

    assert due() == {3, 0}
    assert due(fresh(3, 0.9)) == {0}
    assert due(fresh(0, 0.7), fresh(2, 0.9)) == {3}
    # The best has a mean of 0.90, for which trial 2 (0.80) would need a fresh 1.0; with 0.815 a fresh 0.83 is enough.
    assert due(fresh(3, 0.9), fresh(0, 0.7)) == set()
    assert due(fresh(3, 0.73), fresh(0, 0.7)) == {2}
    assert due(fresh(3, 0.73), fresh(0, 0.7), fresh(2, 0.4)) == set()
    # From a mean of 0.82 on, it would have to score more than 4 points higher than in the search.
    assert due(fresh(3, 0.739), fresh(0, 0.7)) == {2}
    assert due(fresh(3, 0.741), fresh(0, 0.7)) == set()
    # Then trial 1 (0.60), whose chance is to reach 0.64.
    assert due(fresh(3, 0.33), fresh(0, 0.5), fresh(2, 0.4)) == {1}
    assert due(fresh(3, 0.35), fresh(0, 0.5), fresh(2, 0.4)) == set()
    # No score is above 1, which 0.98 would have to exceed to reach a mean of 0.995.
    high = [replace(each, score=0.98 if each.number else 0.99) for each in TRIALS]
    assert due_candidates(settings, high, None, [fresh(0, 1.0)]) == set()
    assert due_candidates(settings, high, None, [fresh(0, 0.99)]) == {1}
    assert choose_finalists(settings, TRIALS, None, [fresh(3, 0.9), fresh(0, 0.7)]) == {"full": TRIALS[3]}


def test_over_folds_a_fresh_score_moves_the_mean_less() -> None:
    ranked = [replace(each, folds=(FoldRecord(0.0, epochs=9),) * 4) for each in TRIALS]
    # The best: (4 x 0.90 + 0.4) / 5 = 0.80; trial 2 needs a fresh 0.80. At 0.81 it would need 0.85.
    assert due_candidates(make_settings(3), ranked, None, [fresh(3, 0.4), fresh(0, 0.5)]) == {2}
    assert due_candidates(make_settings(3), ranked, None, [fresh(3, 0.45), fresh(0, 0.5)]) == set()


def test_a_single_candidate_needs_no_choice() -> None:
    assert choose_finalists(make_settings(1), TRIALS, None, []) == {"full": TRIALS[3]}
    assert choose_finalists(make_settings(3), TRIALS[:1], None, []) == {"full": TRIALS[0]}
    assert list_candidates(make_settings(3), [], None) == []


def test_what_trails_by_more_than_chance_is_not_trained_again_but_each_strategys_best_is() -> None:
    trials = [*TRIALS, trial(4, 0.5, 1e-2, "scratch"), trial(5, 0.4, 2e-2, "scratch")]

    def numbers(images: int) -> list[int]:
        return [each.trial.number for each in list_candidates(make_settings(3), trials, images) if each.place == 0]

    # Two standard errors of the difference of two shares of 0.9: 0.085 of 100 images, 0.27 of 10.
    assert numbers(100) == [3, 4]
    assert numbers(40) == [3, 2, 4]
    assert numbers(10) == [3, 2, 0, 4]


def test_over_folds_the_finalist_has_the_best_mean_of_all_its_trainings() -> None:
    folds = (FoldRecord(0.0, epochs=9),) * 4
    ranked = [replace(each, folds=folds) for each in TRIALS]
    # (4 x 0.90 + 0.60) / 5 = 0.84, (4 x 0.80 + 0.95) / 5 = 0.83; of one training each it would be 0.75 and 0.875.
    finals = [fresh(3, 0.60), fresh(2, 0.95), fresh(0, 0.90)]
    assert choose_finalists(make_settings(3), ranked, None, finals) == {"full": ranked[3]}
    assert choose_finalists(make_settings(3), TRIALS, None, finals) == {"full": TRIALS[2]}
    assert [place_of_final(make_settings(3), seed) for seed in (1007, 1010)] == [0, 3]
