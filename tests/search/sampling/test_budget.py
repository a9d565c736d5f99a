"""The budget, trial by trial: who is next follows from what the others were given and reached."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from frostline.search.records import STRATEGY
from frostline.search.sampling.budget import BudgetAllocation, score_margin, strategy_floor
from frostline.search.sampling.tally import Tally, chooses

NAMES = ["a", "b", "c", "d"]


def trial(
    number: int,
    strategy: str | None,
    score: float | None = None,
    *,
    reports: Sequence[float] = (),
    state: TrialState = TrialState.RUNNING,
) -> FrozenTrial:
    """A trial of a strategy, complete if it has a score; without a strategy if it has not asked yet."""
    made = create_trial(
        state=state if score is None else TrialState.COMPLETE,
        value=score,
        params={} if strategy is None else {STRATEGY: strategy},
        distributions={} if strategy is None else {STRATEGY: CategoricalDistribution(NAMES)},
        intermediate_values=dict(enumerate(reports)),
    )
    made.number = number
    return made


def given(*strategies: str, score: float | None = None) -> list[FrozenTrial]:
    return [trial(number, strategy, score) for number, strategy in enumerate(strategies)]


@pytest.mark.parametrize(
    ("budget", "strategies", "floor"), [(1, 5, 1), (8, 5, 1), (9, 5, 2), (30, 5, 4), (100, 1, 60), (10, 3, 2)]
)
def test_the_floor_is_six_tenths_of_an_equal_share_rounded_up(budget: int, strategies: int, floor: int) -> None:
    assert strategy_floor(budget, strategies) == floor


def test_of_perfect_scores_the_noise_is_that_of_one_image() -> None:
    """The variance of a share of n images is p (1 - p) / n; with p (1 - p) of 1 / n at least, it is 1 / n²."""
    assert score_margin(1.0, 50) == score_margin(0.0, 50) == pytest.approx(2 * math.sqrt(2) / 50)
    assert score_margin(0.5, 50) == pytest.approx(2 * math.sqrt(2 * 0.25 / 50))
    # The same for both sides of a half.
    assert score_margin(0.8, 50) == pytest.approx(score_margin(0.2, 50))


def test_only_a_running_trial_without_a_strategy_still_chooses() -> None:
    assert chooses(trial(0, None))
    assert not chooses(trial(0, "a"))
    assert not chooses(trial(0, None, state=TrialState.FAIL))
    assert not chooses(trial(0, None, state=TrialState.WAITING))


def test_every_strategy_runs_once_first_in_order_and_controls_wait() -> None:
    budget = BudgetAllocation(40, {"a": 1, "b": 9, "c": 9}, controls=["a"])
    assert budget.next_strategy(Tally([]), 0, NAMES) == "b"
    assert budget.next_strategy(Tally(given("b")), 1, NAMES) == "c"
    assert budget.next_strategy(Tally(given("b", "c")), 2, NAMES) == "d"
    # The cheapest after one more: 2 of d at 1 each, not 1 of a control.
    assert budget.next_strategy(Tally(given("b", "c", "d")), 3, NAMES) == "d"


def test_with_one_each_controls_come_after_the_others_and_before_any_second() -> None:
    budget = BudgetAllocation(40, controls=["a"], one_each=True)
    assert budget.next_strategy(Tally([]), 0, NAMES) == "b"
    assert budget.next_strategy(Tally(given("b", "c", "d")), 3, NAMES) == "a"
    assert budget.next_strategy(Tally(given("b", "c", "d", "a")), 4, NAMES) == "a"
    assert budget.next_strategy(Tally(given("b", "c", "d", "a", "a")), 5, NAMES) == "b"


def test_those_that_choose_at_the_same_moment_and_began_earlier_take_the_ones_before() -> None:
    budget = BudgetAllocation(40)
    waiting = [trial(number, None) for number in range(6)]
    assert [budget.next_strategy(Tally(waiting), number, NAMES) for number in range(6)] == [
        "a",
        "b",
        "c",
        "d",
        "d",
        "d",
    ]
    # One that has chosen is no longer among them, and its own is taken.
    assert budget.next_strategy(Tally([trial(0, "a"), trial(1, None), trial(2, None)]), 2, NAMES) == "c"


def test_a_trial_that_asks_again_is_not_counted_itself() -> None:
    budget = BudgetAllocation(40)
    assert budget.next_strategy(Tally(given("a", "b")), 1, NAMES) == "b"


def test_no_strategy_exceeds_an_equal_share_before_a_control_has_its_own() -> None:
    """Of 7 trials an equal share of 4 is 1, and the floor 2."""
    budget = BudgetAllocation(7, controls=["d"])
    assert strategy_floor(7, 4) == 2
    assert budget.next_strategy(Tally(given("a", "b", "c")), 3, NAMES) == "d"
    assert budget.next_strategy(Tally(given("a", "b", "c", "d")), 4, NAMES) == "a"


def test_the_lowest_total_cost_after_one_more_trial_is_next_and_no_name_costs_1() -> None:
    budget = BudgetAllocation(40, {"a": 0.4, "b": 0.25, "d": 5.0})
    # 0.8, 0.5, 2 (c is not named), 10.
    assert budget.next_strategy(Tally(given("a", "b", "c", "d")), 4, NAMES) == "b"
    # 0.8, 1.25, 2, 10.
    assert budget.next_strategy(Tally(given("a", "b", "c", "d", *"bbb")), 7, NAMES) == "a"
    # 2.4, 1.75 and so on: those that have their floor of 6 are out.
    assert budget.next_strategy(Tally(given("a", "b", "c", "d", *"aaaaa", *"bbbbb")), 14, NAMES) == "c"
    assert budget.next_strategy(Tally(given("d", "a", "b", "c", *"ccccc", *"aaaaa", *"bbbbb")), 19, NAMES) == "d"


def test_who_is_behind_waits_until_all_that_is_left_is_owed_to_it() -> None:
    """Floors of 3; b has one trial, and is owed two of the ten."""
    budget = BudgetAllocation(10, images=100)

    def history(leaders: int) -> list[FrozenTrial]:
        return [trial(0, "b", 0.3), *(trial(1 + place, "a", 0.9) for place in range(leaders))]

    assert budget.next_strategy(Tally(history(2)), 3, ["a", "b"]) == "a"
    for leaders in (3, 4, 5, 6):
        assert budget.next_strategy(Tally(history(leaders)), 1 + leaders, ["a", "b"]) is None
    assert budget.next_strategy(Tally(history(7)), 8, ["a", "b"]) == "b"
    # Without a number of images nobody is behind.
    assert BudgetAllocation(10).next_strategy(Tally(history(3)), 4, ["a", "b"]) == "b"


@pytest.mark.parametrize("closer", [False, True])
def test_behind_is_more_than_the_noise_of_the_leaders_score(closer: bool) -> None:
    edge = 0.9 - score_margin(0.9, 100)
    trials = [trial(0, "b", edge if closer else edge - 1e-9), *(trial(1 + place, "a", 0.9) for place in range(3))]
    assert BudgetAllocation(10, images=100).next_strategy(Tally(trials), 4, ["a", "b"]) == ("b" if closer else None)


def test_the_best_of_a_strategys_scores_counts_and_of_a_trial_without_one_the_best_report() -> None:
    budget = BudgetAllocation(10, images=100)
    leaders = [trial(1 + place, "a", 0.9) for place in range(3)]

    def after(*others: FrozenTrial) -> str | None:
        return budget.next_strategy(Tally([*leaders, *others]), 9, ["a", "b"])

    assert after(trial(0, "b", 0.89), trial(5, "b", 0.1)) == "b"
    assert after(trial(0, "b", 0.1), trial(5, "b", 0.89)) == "b"
    assert after(trial(0, "b", reports=[0.1, 0.89, 0.2], state=TrialState.PRUNED)) == "b"
    assert after(trial(0, "b", reports=[0.1, 0.2], state=TrialState.PRUNED)) is None
    # One that has reached nothing is not behind.
    assert after(trial(0, "b")) == "b"
    assert after(trial(0, "b"), trial(5, None), trial(6, "b", 0.1)) is None


def test_when_all_floors_are_met_the_sampler_chooses_even_beyond_the_budget() -> None:
    budget = BudgetAllocation(10)
    assert budget.next_strategy(Tally(given(*"aaabb")), 5, ["a", "b"]) == "b"
    for more in range(6):
        assert budget.next_strategy(Tally(given(*"aaabbb", *"a" * more)), 6 + more, ["a", "b"]) is None
