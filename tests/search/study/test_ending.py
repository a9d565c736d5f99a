"""When a search may end early, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from frostline.objectives.errors import InvalidInputError
from frostline.search.analysis.sureness import judge_sureness
from frostline.search.records import FoldRecord, TrialRecord
from frostline.search.study import ending as ending_module
from frostline.search.study.ending import Ending, judge_ending
from frostline.search.study.extension import Extension
from frostline.search.study.results import has_ended
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from .test_study import FACTS, make_settings

MANY = replace(FACTS, counts={"train": 800, "val": 400, "test": 400})
# The floor of 10 trials and two strategies is 3.
GOOD, POOR = (0.90, 0.91, 0.92, 0.92), (0.50, 0.51, 0.53, 0.52)


def trials_of(**scores: tuple[float | None, ...]) -> list[TrialRecord]:
    """Trials of 10 seconds; without a score, one failed."""
    every = [(name, score) for name, own in scores.items() for score in own]
    return [
        TrialRecord(number, "failed" if score is None else "complete", name, score=score, seconds=10.0)
        for number, (name, score) in enumerate(every)
    ]


def settings(**more: Any) -> Any:
    return make_settings(**{"trials": 10, "stop_when_sure": 0.95, **more})


def test_a_clear_lead_ends_a_search_once_all_floors_are_complete() -> None:
    trials = trials_of(full=GOOD, scratch=POOR)
    found = judge_ending(settings(), MANY, trials, 0.0)
    assert found is not None
    assert (found.ended, found.leader, found.sure, found.trials, found.budget) == (8, "full", 0.95, 10, None)
    assert found.chance <= 0.05
    assert judge_ending(settings(), MANY, trials_of(full=(*GOOD, *GOOD), scratch=POOR[:2]), 0.0) is None
    # A running trial does not count towards its floor.
    running = [*trials_of(full=GOOD, scratch=POOR[:2]), TrialRecord(9, "running", "scratch", curve={0: 0.5})]
    assert judge_ending(settings(), MANY, running, 0.0) is None


def test_a_search_that_was_not_asked_to_never_ends_early() -> None:
    assert judge_ending(settings(stop_when_sure=None), MANY, trials_of(full=GOOD, scratch=POOR), 0.0) is None


def test_equal_strategies_do_not_end_it() -> None:
    assert judge_ending(settings(), MANY, trials_of(full=GOOD, scratch=GOOD), 0.0) is None


def test_unknown_validation_images_do_not_end_it() -> None:
    assert judge_ending(settings(), replace(FACTS, counts={}), trials_of(full=GOOD, scratch=POOR), 0.0) is None


def test_a_strategy_whose_trials_all_failed_does_not_decide() -> None:
    assert judge_ending(settings(), MANY, trials_of(full=GOOD, scratch=(None, None, None, None)), 0.0) is None


def judged_with(
    monkeypatch: pytest.MonkeyPatch,
    trials: list[TrialRecord],
    used: float = 0.0,
    limit: int | None = 10,
    facts: Any = MANY,
    **more: Any,
) -> tuple[Any, ...]:
    """What the judgment is made from: scores, trials left, images, indifference."""
    seen: list[tuple[Any, ...]] = []

    def judge(*given: Any) -> Any:
        seen.append(given)
        return judge_sureness(*given)

    monkeypatch.setattr(ending_module, "judge_sureness", judge)
    judge_ending(settings(trials=limit, **more), facts, trials, used)
    return seen[0]


def test_trials_left_follow_the_number_and_the_budget_whichever_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(full=GOOD, scratch=POOR)
    assert judged_with(monkeypatch, trials)[1] == {"full": 2, "scratch": 2}
    # The floor of 38 trials is 12.
    every = trials_of(full=3 * GOOD, scratch=3 * POOR)
    slow = [replace(each, seconds=40.0) if each.strategy == "full" else each for each in every]
    given = judged_with(monkeypatch, slow, 200.0, limit=38, budget=600.0)
    assert given[1] == {"full": 10, "scratch": 14}
    assert judged_with(monkeypatch, every, 500.0, limit=None, budget=600.0)[1] == {"full": 10, "scratch": 10}


def test_pruned_trials_count_with_their_best_epoch_and_folds_with_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(full=GOOD, scratch=POOR)
    trials[0] = replace(trials[0], state="pruned", score=0.1, curve={0: 0.4, 1: 0.7, 2: 0.1})
    folds = (FoldRecord(0.9, 3), FoldRecord(0.5, 3))
    trials[1] = replace(trials[1], state="pruned", score=0.7, curve={0: 0.9, 1: 0.7}, folds=folds)
    assert judged_with(monkeypatch, trials)[0] == {"full": [0.7, 0.7, 0.92, 0.92], "scratch": list(POOR)}


def test_a_mean_over_classes_is_as_uncertain_as_its_smallest_class(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(full=GOOD, scratch=POOR)
    uneven = replace(MANY, class_counts={"train": {"daisy": 80, "röse": 8}, "val": {"daisy": 380, "röse": 20}})
    assert judged_with(monkeypatch, trials, facts=uneven)[2] == 400
    # The variance p (1 - p) (1 / 380 + 1 / 20) / 4 is that of 76 images.
    images = judged_with(monkeypatch, trials, facts=uneven, metric="balanced_accuracy")[2]
    assert images == pytest.approx(76.0)


def test_an_ending_is_of_the_settings_under_which_it_came() -> None:
    ending = Ending(8, "full", 0.04, {"scratch": 0.04}, 0.95, 10, None)
    assert Ending.from_row(ending.to_row()) == ending
    assert ending.is_of(settings())
    for more in ({"trials": 12}, {"budget": 60.0}, {"stop_when_sure": 0.9}, {"stop_when_sure": None}):
        assert not ending.is_of(settings(**more))


@pytest.mark.parametrize(
    ("more", "chance", "said"),
    [
        ({}, 0.041, "after 8 of 10 trials: that another strategy would win by more than 1 point had become"),
        ({"indifference": 0.5}, 0.0, "more than 0.5 points had become unlikely (less than 1 %)."),
        ({"trials": None, "budget": 600.0}, 0.02, "after 8 trials and 2 min 00 s of the budget of 10 min 00 s: that"),
        ({"budget": 600.0}, 0.02, "after 8 of 10 trials and 2 min 00 s of the budget of"),
    ],
)
def test_the_sentence_names_trials_budget_difference_and_chance(more: Any, chance: float, said: str) -> None:
    own = settings(**more)
    sentence = Ending(7, "full", chance, {}, 0.95, own.trials, own.budget).sentence(own, 8, 120.0)
    assert said in sentence
    assert sentence.startswith("The search ended after")


def test_a_search_has_ended_when_what_had_begun_has() -> None:
    ending = Ending(2, "full", 0.04, {}, 0.95, 10, None)
    trials = trials_of(full=GOOD)
    assert has_ended(settings(), trials, 0.0, ending)
    assert not has_ended(settings(), trials, 0.0)
    assert not has_ended(settings(), [*trials, TrialRecord(4, "running", "full")], 0.0, ending)


def test_a_resume_changes_how_sure_it_must_be(tmp_path: Any) -> None:
    study = Study.create(settings(), MANY, Workspace(tmp_path), None)
    assert Extension(stop_when_sure=0.95).of(study) is None
    surer = Extension(stop_when_sure=0.99).of(study)
    assert surer is not None
    assert surer.stop_when_sure == 0.99
    never = Extension(stop_when_sure=1).of(study)
    assert never is not None
    assert never.stop_when_sure is None
    study.extend(never)
    assert Study.load("flowers", study.workspace).settings.stop_when_sure is None
    assert Extension(stop_when_sure=1).of(study) is None
    for value in (0.5, 2.0, -1.0, float("nan")):
        with pytest.raises(InvalidInputError, match=r"above 0\.5 and below 1.*1 runs all trials"):
            Extension(stop_when_sure=value).of(study)


def test_a_study_of_an_older_version_runs_all_trials(tmp_path: Any) -> None:
    study = Study.create(settings(stop_when_sure=None), MANY, Workspace(tmp_path), None)
    text = study.inner.user_attrs["frostline:settings"]
    assert '"stop_when_sure":null,' in text
    study.inner.set_user_attr("frostline:settings", text.replace('"stop_when_sure":null,', ""))
    assert Study.load("flowers", study.workspace).settings.stop_when_sure is None
