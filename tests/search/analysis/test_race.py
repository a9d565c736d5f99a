"""The race against what its rules say: who gets further seeds, when it ends, what it claims."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from frostline.search.analysis.comparison import Comparison, Gap, Look, Outlook, Ranked, confidence_set
from frostline.search.analysis.race import Race, RaceCosts, RaceRules, run_race
from frostline.search.analysis.score_draws import draw_scores
from frostline.search.analysis.verdict import Verdict, reach_verdict
from frostline.search.records import FinalRecord

LABELS = np.arange(400) % 2


def final(strategy: str, seed: int, right: float, *, seconds: float = 1.0) -> FinalRecord:
    """A final that is right on a share of the images: on the same ones as another that is as good."""
    correct = np.arange(len(LABELS)) < round(right * len(LABELS))
    return predicted(strategy, seed, correct, seconds)


def predicted(strategy: str, seed: int, correct: NDArray[np.bool_], seconds: float = 1.0) -> FinalRecord:
    probabilities = np.eye(2, dtype=np.float32)[np.where(correct, LABELS, 1 - LABELS)]
    return FinalRecord(strategy, 0, seed, 0.5, float(correct.mean()), seconds, 1, LABELS, probabilities)


def raced(scores: dict[str, list[float]], rules: RaceRules, **seconds: float) -> tuple[Race, dict[str, int]]:
    """Run a race that trains what it needs; return it with the number of seeds that each strategy got."""
    trained = dict.fromkeys(scores, 0)
    while True:
        finals = [
            final(strategy, 1000 + seed, scores[strategy][seed], seconds=seconds.get(strategy, 1.0))
            for strategy, count in trained.items()
            for seed in range(count)
        ]
        race = run_race(finals, list(scores), "accuracy", rules)
        if not race.needed:
            return race, trained
        assert race.verdict is None
        assert all(trained[strategy] < count for strategy, count in race.needed.items())
        trained |= race.needed


def spread(mean: float, deviation: float, seeds: int = 8) -> list[float]:
    """Scores with this mean and deviation of each pair of seeds."""
    return [mean + (deviation if seed % 2 else -deviation) for seed in range(seeds)]


def test_what_is_far_behind_gets_two_seeds_and_a_tie_goes_on() -> None:
    scores = {"full": spread(0.85, 0.03), "partial": spread(0.845, 0.03), "scratch": spread(0.3, 0.03)}
    race, trained = raced(scores, RaceRules(8))
    assert trained["scratch"] == 2
    assert trained["full"] == trained["partial"] > 2
    assert race.verdict is not None
    assert [contender.strategy for contender in race.verdict.contenders if not contender.tied] == ["scratch"]
    assert race.verdict.undecided


def test_it_ends_after_two_seeds_when_the_leader_is_ahead_of_all() -> None:
    race, trained = raced({"full": spread(0.9, 0.01), "scratch": spread(0.4, 0.01)}, RaceRules(8))
    assert set(trained.values()) == {2}
    assert race.verdict is not None
    assert race.verdict.winner.strategy == "full"
    assert not race.verdict.undecided


def test_seeds_that_promise_nothing_are_not_trained() -> None:
    # The predictions of two strategies differ on many images: new test images would change the gap, new seeds not.
    images = np.arange(len(LABELS))
    correct = {"full": images % 10 < 7, "partial": (images + 5) % 10 < 7}
    correct["full"] = correct["full"] | (images < 4)
    finals = [predicted(strategy, 1000 + seed, each) for strategy, each in correct.items() for seed in range(2)]
    race = run_race(finals, list(correct), "accuracy", RaceRules(8))
    assert not race.needed
    assert race.verdict is not None
    assert race.verdict.undecided
    # What is thought worthless beforehand is trained if every point matters.
    strict = run_race(finals, list(correct), "accuracy", RaceRules(8, indifference=0.0))
    assert strict.needed == {"full": 4, "partial": 4}


@pytest.mark.parametrize(
    ("seeds", "rounds"), [(1, (1,)), (2, (2,)), (3, (2, 3)), (5, (2, 5)), (6, (2, 4, 6)), (8, (2, 4, 8))]
)
def test_rounds_double_up_to_the_limit(seeds: int, rounds: tuple[int, ...]) -> None:
    assert RaceRules(seeds).rounds == rounds
    assert RaceRules(seeds, racing=False).rounds == (seeds,)


def test_without_a_race_every_strategy_gets_all_seeds_and_the_verdict_is_that_of_one_look() -> None:
    scores = {"full": spread(0.9, 0.02, 3), "scratch": spread(0.4, 0.02, 3)}
    race, trained = raced(scores, RaceRules(3, racing=False))
    assert set(trained.values()) == {3}
    finals = [final(strategy, 1000 + seed, each[seed]) for strategy, each in scores.items() for seed in range(3)]
    # A fifth of the 5 % is left to a race that goes on from here.
    assert race.verdict == reach_verdict(finals, "accuracy", look=Look(0.96, max_seeds=3))


def test_the_order_in_which_finals_were_recorded_does_not_matter() -> None:
    draw = np.random.default_rng(0)
    finals = [
        final(strategy, 1000 + seed, 0.8 + 0.02 * draw.normal()) for strategy in ("full", "lp_ft") for seed in range(2)
    ]
    races = [run_race(order, ["full", "lp_ft"], "accuracy", RaceRules(8)) for order in (finals, finals[::-1])]
    assert races[0] == races[1]


def test_a_strategy_that_left_stays_behind_and_ranks_last_even_if_the_leaders_fall_below_it() -> None:
    # After two seeds the third is far behind; with further seeds the others come to score less.
    scores = {
        "full": [0.90, 0.91, *[0.55] * 6],
        "partial": [0.90, 0.90, *[0.56] * 6],
        "scratch": [0.66, 0.66, *[0.66] * 6],
    }
    race, trained = raced(scores, RaceRules(8, indifference=0.0))
    assert trained == {"full": 8, "partial": 8, "scratch": 2}
    assert race.verdict is not None
    last = race.verdict.contenders[-1]
    assert last.strategy == "scratch"
    assert last.mean > race.verdict.leader.mean
    assert not last.tied


UNDECIDED = {"full": spread(0.85, 0.03, 20), "partial": spread(0.845, 0.03, 20), "scratch": spread(0.3, 0.03, 20)}


@pytest.mark.slow  # That raised seeds reopen a race, or not, is quick.
def test_a_race_whose_seeds_are_raised_goes_on_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Look] = []

    def reached(*args: object, look: Look, **options: object) -> Verdict:
        looks.append(look)
        return reach_verdict(*args, look=look, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("frostline.search.analysis.race.reach_verdict", reached)
    ended, trained = raced(UNDECIDED, RaceRules(4, indifference=0.0))
    assert trained == {"full": 4, "partial": 4, "scratch": 2}
    assert ended.verdict is not None
    assert ended.verdict.undecided
    # Of the 5 %: a quarter of four fifths after the first of two rounds, all of them after the second.
    assert [look.confidence for look in looks[-2:]] == pytest.approx([0.99, 0.96])
    before, looks[:] = looks[-2:], []
    longer, trained = raced(UNDECIDED, RaceRules(16, indifference=0.0, earlier=(4,)))
    assert trained == {"full": 16, "partial": 16, "scratch": 2}
    # The first looks are as they were; the further ones may use up four fifths of what these left.
    assert looks[-4:-2] == before
    assert [look.confidence for look in looks[-2:]] == pytest.approx([0.958, 0.952])
    assert [seeds for seeds, _ in looks[-1].earlier] == [2, 4, 8]
    assert longer.verdict is not None
    assert (
        longer.verdict.comparison.critical
        > reach_verdict(
            [final(name, seed, each[seed]) for name, each in UNDECIDED.items() for seed in range(16)], "accuracy"
        ).comparison.critical
    )


def test_a_decided_race_does_not_go_on() -> None:
    scores = {"full": spread(0.9, 0.01, 16), "scratch": spread(0.4, 0.01, 16)}
    short, _ = raced(scores, RaceRules(4))
    longer, trained = raced(scores, RaceRules(16, earlier=(4,)))
    assert set(trained.values()) == {2}
    assert longer == short


def test_missing_finals_of_any_strategy_are_needed() -> None:
    finals = [final("full", 1000, 0.9), final("full", 1001, 0.9), final("lp_ft", 1001, 0.9)]
    assert run_race(finals, ["full", "lp_ft", "scratch"], "accuracy", RaceRules(8)).needed == {"lp_ft": 2, "scratch": 2}
    assert run_race([], [], "accuracy", RaceRules(8)) == Race(None)


def test_looking_twice_claims_as_often_as_looking_once() -> None:
    # Equal strategies with known normal errors, seen after 2 and after 8 seeds: the draws are the truth.
    draw = np.random.default_rng(0)
    images, steps = draw.normal(0, 0.01, (200_000, 3)), draw.normal(0, 0.02, (200_000, 8, 3))
    early, late = (images + steps[:, :seeds].mean(axis=1) for seeds in (2, 8))
    half = 20_000
    means = np.zeros(3)
    first = confidence_set(means, early[:half], 0.975).critical
    second = confidence_set(means, late[:half], 0.95, earlier=[(early[:half], first)]).critical
    claimed = np.zeros(len(early) - half, bool)
    for errors, critical in ((early[half:], first), (late[half:], second)):
        scale = errors.std() * np.sqrt(2)
        claimed |= (errors.max(axis=1) - errors.min(axis=1)) / scale > critical
    # Three standard errors of a share of 5 % in 180,000, and what 20,000 draws leave open.
    assert claimed.mean() == pytest.approx(0.05, abs=0.005)
    # One look at the end has the smaller critical value.
    assert confidence_set(means, late[:half], 0.95).critical < second < first


def test_the_draws_of_earlier_rounds_have_the_variance_of_their_seeds() -> None:
    draw = np.random.default_rng(0)
    right = draw.random((2, 8, 300)) < 0.8
    rows = [[partial(_share, each) for each in seeds] for seeds in right]
    drawn = draw_scores(rows, np.zeros(300, dtype=np.int64), seed=0, draws=20_000, earlier=[2, 4])
    now = drawn.seeds.var(axis=0)
    for seeds in (2, 4):
        earlier = drawn.earlier_seeds[seeds]
        assert earlier.var(axis=0) == pytest.approx(now * 8 / seeds, rel=0.1)
        # The mean of the first seeds is part of the mean of all: its covariance with it is the variance of all.
        assert (earlier * drawn.seeds).mean(axis=0) == pytest.approx(now, rel=0.15)


def _share(right: NDArray[np.bool_], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counts @ right / len(right)


def test_a_race_ends_where_a_further_round_costs_too_much_unless_its_seeds_are_raised() -> None:
    names = list(UNDECIDED)
    finals = [final(name, seed, UNDECIDED[name][seed]) for name in names for seed in range(2)]
    rules = RaceRules(8, indifference=0.0)
    each = {"full": 10.0, "partial": 5.0, "scratch": 10.0}

    def needed(limit: float, rules: RaceRules = rules) -> dict[str, int]:
        race = run_race(finals, names, "accuracy", rules, costs=RaceCosts(limit, each, spent=7.0))
        return dict(race.needed)

    # Beside the 7: 4 seeds of the two that race, and the 2 of scratch, which left.
    assert needed(87.0) == {"full": 4, "partial": 4}
    assert needed(86.0) == {}
    ended = run_race(finals, names, "accuracy", rules, costs=RaceCosts(0.0, each)).verdict
    assert ended is not None
    assert ended.undecided
    # The further limit may be the same: then the race goes on to it.
    assert needed(0.0, RaceRules(8, indifference=0.0, earlier=(8,))) == {"full": 4, "partial": 4}


def test_a_race_that_has_ended_ends_where_its_finals_do() -> None:
    finals = [final(name, seed, UNDECIDED[name][seed]) for name in UNDECIDED for seed in range(2)]
    arguments = (finals, list(UNDECIDED), "accuracy", RaceRules(8, indifference=0.0))
    assert run_race(*arguments).needed == {"full": 4, "partial": 4}
    # As an older version of the rules ended it, say.
    ended = run_race(*arguments, ended=True)
    assert not ended.needed
    assert ended.verdict == run_race(*arguments, costs=RaceCosts(0.0, dict.fromkeys(UNDECIDED, 1.0))).verdict
    # So does one whose further limit was ended at once, and one that has all its finals.
    further = RaceRules(8, indifference=0.0, earlier=(2,))
    assert run_race(*arguments[:3], further).needed == {"full": 4, "partial": 4}
    longer = run_race(*arguments[:3], further, ended=True)
    assert not longer.needed
    assert longer.verdict is not None
    alone = run_race(*arguments[:3], RaceRules(2, indifference=0.0))
    assert alone == run_race(*arguments[:3], RaceRules(2, indifference=0.0), ended=True)


# Round by round, whatever the comparisons say


def follow(
    rules: RaceRules,
    *outlooks: Outlook,
    seeds: int = 20,
    decided_at: int = 99,
    costs: RaceCosts | None = None,
    strategies: tuple[str, ...] = ("full", "partial"),
) -> tuple[Race, list[tuple[list[int], Look]]]:
    """A race in which all tie until a look, with these outlooks in turn; and the seeds and look of each comparison."""
    looks: list[tuple[list[int], Look]] = []

    def comparing(ranked: Ranked, metric: str, seed: int, look: Look) -> Comparison:
        looks.append(([len(group) for group in ranked], look))
        gap = Gap((0.1, 0.2) if len(looks) > decided_at else (-0.1, 0.1), 0.1, 0.1, 0.1, 1.0, len(looks) > decided_at)
        others = len(ranked) - 1
        outlook = outlooks[min(len(looks), len(outlooks)) - 1]
        return Comparison(
            tuple((0.0, 1.0) for _ in ranked), (gap,) * others, (0.5,) * (1 + others), 2.0 + len(looks), outlook
        )

    finals = [final(name, seed, 0.8 if name == "full" else 0.7) for name in strategies for seed in range(seeds)]
    race = run_race(finals, strategies, "accuracy", rules, costs=costs, comparing=comparing)
    return race, looks


HOPE, NONE = Outlook(1.0, 0.0), Outlook(0.0, 0.0)


def test_rounds_use_up_the_squares_of_their_shares_of_four_fifths() -> None:
    race, looks = follow(RaceRules(8), HOPE)
    assert [seeds for seeds, _ in looks] == [[2, 2], [4, 4], [8, 8]]
    assert [look.confidence for _, look in looks] == pytest.approx([1 - 0.04 / 9, 1 - 0.04 * 4 / 9, 0.96])
    assert [look.earlier for _, look in looks] == [(), ((2, 3.0),), ((2, 3.0), (4, 4.0))]
    assert {look.max_seeds for _, look in looks} == {8}
    assert {look.racing for _, look in looks} == {2}
    assert race.verdict is not None
    assert race.verdict.comparison.critical == 5.0


def test_a_race_that_ends_early_uses_up_what_is_left() -> None:
    for outlooks, confidences in (([NONE], [1 - 0.04 / 9, 0.96]), ([HOPE, NONE], [1 - 0.04 / 9, 1 - 0.16 / 9, 0.96])):
        race, looks = follow(RaceRules(8), *outlooks)
        assert [look.confidence for _, look in looks] == pytest.approx(confidences)
        # The same seeds are looked at again.
        assert looks[-1][0] == looks[-2][0]
        assert race.verdict is not None
        assert race.verdict.undecided
    # The last round has used it up already.
    assert len(follow(RaceRules(2), HOPE)[1]) == 1
    assert len(follow(RaceRules(3), HOPE, NONE)[1]) == 2


def test_a_race_decided_in_a_round_ends_there() -> None:
    race, looks = follow(RaceRules(8), HOPE, decided_at=1)
    assert [seeds for seeds, _ in looks] == [[2, 2], [4, 4], [4, 4]]
    assert race.verdict is not None
    assert not race.verdict.undecided
    assert not race.needed


def test_a_longer_race_goes_on_with_four_fifths_of_what_was_left() -> None:
    _, looks = follow(RaceRules(12, earlier=(3,)), HOPE)
    assert [seeds for seeds, _ in looks] == [[2, 2], [3, 3], [6, 6], [12, 12]]
    # 4 % by the first race; four fifths of the fifth for the second.
    assert [look.confidence for _, look in looks] == pytest.approx([0.99, 0.96, 0.96 - 0.008 / 4, 0.952])
    assert [look.max_seeds for _, look in looks] == [3, 3, 12, 12]
    _, thrice = follow(RaceRules(4, racing=False, earlier=(2, 3)), HOPE)
    assert [look.confidence for _, look in thrice] == pytest.approx([0.96, 0.952, 0.9504])


@pytest.mark.parametrize(
    ("outlook", "goes_on"),
    [
        (Outlook(0.1, 0.0), False),
        (Outlook(0.101, 0.0), True),
        (Outlook(0.0, 0.01), False),
        (Outlook(0.0, 0.0101), True),
        (Outlook(0.05, 0.009), False),
    ],
)
def test_seeds_are_worth_their_time_from_a_tenths_chance_or_a_gain_that_matters(
    outlook: Outlook, goes_on: bool
) -> None:
    race, _ = follow(RaceRules(8, indifference=0.01), outlook, seeds=2)
    assert race.needed == ({"full": 4, "partial": 4} if goes_on else {})
    assert (race.verdict is None) == goes_on


def test_a_limit_of_cost_holds_for_the_first_race_only() -> None:
    costs = RaceCosts(7.9, {"full": 1.0, "partial": 1.0})
    _, looks = follow(RaceRules(8), HOPE, costs=costs)
    assert [seeds for seeds, _ in looks] == [[2, 2], [2, 2]]
    _, looks = follow(RaceRules(8), HOPE, costs=RaceCosts(8.0, {"full": 1.0, "partial": 1.0}))
    assert [seeds for seeds, _ in looks] == [[2, 2], [4, 4], [4, 4]]
    _, looks = follow(RaceRules(8, earlier=(2,)), HOPE, costs=RaceCosts(0.0, {"full": 1.0}))
    assert [seeds for seeds, _ in looks] == [[2, 2], [4, 4], [8, 8]]


def test_costs_are_those_of_all_trainings_and_of_what_was_spent_before() -> None:
    costs = RaceCosts(10.0, {"full": 2.0, "lp_ft": 1.0}, spent=3.0)
    assert costs.affords({"full": 2, "lp_ft": 3})
    assert not costs.affords({"full": 2, "lp_ft": 4})
    assert costs.affords({"full": 3, "unknown": 99})
    assert not RaceCosts(2.9, {}, spent=3.0).affords({})


@pytest.mark.parametrize(
    ("rules", "own", "most", "foreseen"),
    [
        (RaceRules(8), 0, 0, 2),
        (RaceRules(8), 1, 2, 2),
        (RaceRules(8), 2, 2, 2),
        (RaceRules(8), 2, 3, 2),
        (RaceRules(8), 3, 3, 4),
        (RaceRules(8), 3, 4, 4),
        (RaceRules(8), 4, 5, 4),
        (RaceRules(8), 5, 5, 8),
        (RaceRules(8), 9, 9, 9),
        (RaceRules(5, racing=False), 1, 2, 5),
    ],
)
def test_of_those_that_race_the_seeds_of_the_round_are_foreseen(
    rules: RaceRules, own: int, most: int, foreseen: int
) -> None:
    assert rules.foreseen(own, most) == foreseen


def test_limits_that_were_raised_are_rounds_too() -> None:
    assert RaceRules(20, earlier=(3,)).rounds == (2, 3, 6, 12, 20)
    assert RaceRules(8, earlier=(8,)).rounds == (2, 4, 8)
    assert RaceRules(1, earlier=(1,)).rounds == (1,)
    assert RaceRules(4, racing=False, earlier=(2,)).rounds == (2, 4)
    assert RaceRules(4, earlier=(1,)).rounds == (1, 2, 4)
