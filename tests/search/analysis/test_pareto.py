"""The Pareto front against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from frostline.search.analysis.pareto import pareto_front
from frostline.search.records import TrialRecord

# Few values, so that equals are frequent.
_SCORES = st.one_of(st.none(), st.sampled_from([0.1, 0.4, 0.5, 0.9]))
_SECONDS = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 5.0, 9.0]))
_STATES = st.sampled_from(["complete", "pruned", "failed", "running"])


def seconds(trial: TrialRecord) -> float | None:
    return trial.seconds


@given(st.lists(st.tuples(_STATES, _SCORES, _SECONDS), max_size=12))
def test_the_front_is_what_nothing_dominates(drawn: list[tuple[str, float | None, float | None]]) -> None:
    trials = [
        TrialRecord(number, state, score=score, seconds=took) for number, (state, score, took) in enumerate(drawn)
    ]
    known = [
        (trial.score, trial.seconds)
        for trial in trials
        if trial.state == "complete" and trial.score is not None and trial.seconds is not None
    ]
    undominated = {
        (score, took)
        for score, took in known
        if not any(s >= score and t <= took and (s, t) != (score, took) for s, t in known)
    }
    front = pareto_front(trials, seconds)
    assert {(trial.score, trial.seconds) for trial in front} == undominated
    assert len(front) == len(undominated)


def test_the_cheapest_comes_first_and_of_equals_the_earliest() -> None:
    trials = [
        TrialRecord(0, "complete", score=0.9, seconds=9.0),
        TrialRecord(1, "complete", score=0.5, seconds=1.0),
        TrialRecord(2, "complete", score=0.5, seconds=1.0),
    ]
    assert [trial.number for trial in pareto_front(trials, seconds)] == [1, 0]
