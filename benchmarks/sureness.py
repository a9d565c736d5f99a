"""Whether `--stop-when-sure` keeps its word: simulated searches whose every configuration's true accuracy is known.

    python benchmarks/sureness.py --keep            # 100 searches a row, four sizes of rows: half an hour
    python benchmarks/sureness.py --searches 20 --sure 0.9

Each search has a number of trials and runs all of them, with the floors of trials and TPE between strategies of a real
search. It is asked after each trial whether it would have ended there. Then what the rest of its trials found tells
whether that was right: whether no other strategy's finalist (its trial with the best validation score) is truly better
than the present one of the leading strategy by more than a point.

A validation score is the share of right answers. Answers of all trials on an image go together, as in the recorded
trials, and another training of a configuration is a little better or worse. Arms, with the number of strategies given:

- equal: the best configurations of all strategies are equally good.
- one better by 1, 3 or 10 points: the others are worse by so much.
- spread: the others are worse by 2, 4, 6, ... points.
- heavy tails: one of ten configurations is better by up to 15 points, the others hardly differ.
- ruined: a third of the configurations learns nothing.
- rising: each strategy starts 8 points below what it reaches, and closes a fifth of the gap with each trial.
- one rises late: the best one, by 3 points, starts 8 points lower and closes a tenth of the gap with each trial.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from scipy.special import ndtri

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.optuna_policies import FloorOfTrials
from benchmarks.policies import Clock
from benchmarks.search_outcomes import binomial
from frostline.search.analysis import INDIFFERENCE, Sureness, judge_sureness
from frostline.search.records import TrialRecord
from frostline.search.sampling.budget import strategy_floor

Floats = NDArray[np.float64]

STRATEGIES = ("feature_extraction", "partial", "full", "lp_ft", "norm_bias", "surgical")
# Share of the variance of an answer, before it is right or wrong, that is the image's, and the image's for a strategy:
# the answers of two good trials then have a correlation of about 0.4.
_IMAGE, _OF_STRATEGY = 0.6, 0.1
# Standard deviation of the accuracy over seeds.
_SEED = 0.008

# From the peaks of K strategies, a number of trials T and random numbers to true accuracies (K, T).
Draw = Callable[[int, int, np.random.Generator], Floats]


def _tuned(gaps: Sequence[float]) -> Draw:
    """Configurations up to 12 points below the peak of their strategy, more of them near it."""

    def draw(strategies: int, trials: int, rng: np.random.Generator) -> Floats:
        peaks = 0.88 - np.resize([*gaps, *[gaps[-1]] * strategies], strategies)
        return peaks[:, None] - 0.12 * rng.random((strategies, trials)) ** 2

    return draw


def _spread(strategies: int, trials: int, rng: np.random.Generator) -> Floats:
    return _tuned([0.02 * place for place in range(strategies)])(strategies, trials, rng)


def _heavy(strategies: int, trials: int, rng: np.random.Generator) -> Floats:
    usual = 0.74 + 0.02 * rng.random((strategies, trials))
    return usual + np.where(rng.random(usual.shape) < 0.1, 0.15 * rng.random(usual.shape), 0.0)


def _ruined(strategies: int, trials: int, rng: np.random.Generator) -> Floats:
    good = _spread(strategies, trials, rng)
    return np.where(rng.random(good.shape) < 0.33, 0.1 + 0.3 * rng.random(good.shape), good)


def _rising(strategies: int, trials: int, rng: np.random.Generator) -> Floats:
    return _spread(strategies, trials, rng) - 0.08 * 0.8 ** np.arange(trials)


def _late(strategies: int, trials: int, rng: np.random.Generator) -> Floats:
    accuracies = _tuned([0.0, 0.03])(strategies, trials, rng)
    accuracies[0] -= 0.08 * 0.9 ** np.arange(trials)
    return accuracies


SHAPES: dict[str, Draw] = {
    "equal": _tuned([0.0]),
    "one better by 1 point": _tuned([0.0, 0.01]),
    "one better by 3 points": _tuned([0.0, 0.03]),
    "one better by 10 points": _tuned([0.0, 0.10]),
    "spread": _spread,
    "heavy tails": _heavy,
    "ruined": _ruined,
    "rising": _rising,
    "one rises late": _late,
}


@dataclass(frozen=True)
class Arms:
    """Strategies with known truth.

    Attributes:
        names: Strategies, in random order.
        accuracies: True accuracy of each trial that a strategy can have (K, T).
        scores: Its validation score (K, T).
    """

    names: tuple[str, ...]
    accuracies: Floats
    scores: Floats


class Size(NamedTuple):
    """How large a search is: strategies, trials and validation images."""

    strategies: int
    trials: int
    images: int


SIZES = (Size(2, 20, 100), Size(3, 40, 60), Size(5, 40, 200), Size(6, 90, 400))


def draw_arms(draw: Draw, size: Size, rng: np.random.Generator) -> Arms:
    """Draw strategies and the validation scores of all trials that they can have."""
    accuracies = np.clip(draw(size.strategies, size.trials, rng), 0.02, 0.995)
    trained = np.clip(accuracies + _SEED * rng.standard_normal(accuracies.shape), 0.02, 0.995)
    own = 1 - _IMAGE - _OF_STRATEGY
    common = np.sqrt(_IMAGE) * rng.standard_normal(size.images)
    common = common + np.sqrt(_OF_STRATEGY) * rng.standard_normal((size.strategies, 1, size.images))
    ease = common + np.sqrt(own) * rng.standard_normal((*accuracies.shape, size.images))
    scores = (ease < ndtri(trained)[..., None]).mean(axis=-1)
    order = rng.permutation(len(STRATEGIES))[: size.strategies]
    return Arms(tuple(STRATEGIES[place] for place in order), accuracies, scores)


def search(arms: Arms, size: Size, seed: int) -> list[int]:
    """Return the places of the strategies of a whole search's trials, as a real search allocates them."""
    policy, history, counts = FloorOfTrials(seed, None), [], dict.fromkeys(arms.names, 0)
    chosen = []
    for number in range(size.trials):
        # A trial takes a second: so the policy counts trials.
        strategy = policy.choose(history, arms.names, Clock(number, size.trials))
        place = arms.names.index(strategy)
        score = float(arms.scores[place, counts[strategy]])
        history.append(TrialRecord(number, "complete", strategy, {}, score, {0: score}, 1.0))
        counts[strategy] += 1
        chosen.append(place)
    return chosen


@dataclass(frozen=True)
class Ending:
    """Where a search would have ended.

    Attributes:
        trials: Number of trials before.
        right: Whether no other strategy was truly better than the leader by more than what does not matter, after all
            trials.
        lost: By how much the best finalist is truly worse than after all trials, points.
        stated: Chance of being wrong that was stated.
    """

    trials: int
    right: bool
    lost: float
    stated: float


def judged(arms: Arms, chosen: Sequence[int], size: Size, trials: int) -> Sureness | None:
    """Return what is said of a search after so many trials; None before the floors."""
    counts = np.bincount(chosen[:trials], minlength=size.strategies)
    if counts.min() < strategy_floor(size.trials, size.strategies):
        return None
    scores = {name: arms.scores[place, : counts[place]].tolist() for place, name in enumerate(arms.names)}
    return judge_sureness(scores, dict.fromkeys(arms.names, size.trials - trials), size.images, INDIFFERENCE)


def ending(arms: Arms, chosen: Sequence[int], size: Size, sure: float) -> Ending | None:
    """Return where a search ends if it ends when it is so sure; None if it does not end before its last trial."""
    for trials in range(1, size.trials):
        said = judged(arms, chosen, size, trials)
        if said is not None and said.chance <= 1 - sure:
            leader = arms.names.index(said.leader)
            now, after = _finalists(arms, chosen[:trials]), _finalists(arms, chosen)
            others = max(worth for place, worth in after.items() if place != leader)
            lost = 100 * (max(after.values()) - max(now.values()))
            return Ending(trials, others <= now[leader] + INDIFFERENCE, lost, said.chance)
    return None


def _finalists(arms: Arms, chosen: Sequence[int]) -> dict[int, float]:
    """Return the true accuracy of each strategy's trial with the best validation score."""
    counts = np.bincount(chosen, minlength=len(arms.names))
    return {
        place: float(arms.accuracies[place, arms.scores[place, :count].argmax()])
        for place, count in enumerate(counts)
        if count
    }


def measure(draw: Draw, size: Size, sure: float, searches: int, seed: int = 0) -> list[Ending | None]:
    """Return the endings of so many searches."""
    found = []
    for place in range(searches):
        arms = draw_arms(draw, size, np.random.default_rng([seed, place]))
        found.append(ending(arms, search(arms, size, place), size, sure))
    return found


def add_rows(table: harness.Table, sure: float, searches: int, sizes: Sequence[Size] = SIZES) -> list[Ending | None]:
    """Measure all shapes and sizes, and write a row for each; return all endings."""
    every: list[Ending | None] = []
    for shape, draw in SHAPES.items():
        for size in sizes:
            found = measure(draw, size, sure, searches)
            table.add(shape, f"{size.strategies}, {size.trials}, {size.images}", *describe(found, size.trials))
            print("|", shape, size, *describe(found, size.trials), flush=True)
            every += found
    return every


def describe(found: Sequence[Ending | None], trials: int = 0) -> list[str]:
    """Return the cells of a row: ended early, saved, right of those that ended, stated, wrong of all, points lost."""
    ended = [each for each in found if each is not None]
    early = binomial(np.array([each is not None for each in found]))
    if not ended:
        return [early, "0", "-", "-", "0", "-"]
    saved = f"{100 * sum(1 - each.trials / trials for each in ended) / len(found):.0f}" if trials else ""
    right = binomial(np.array([each.right for each in ended]))
    stated = f"{100 * (1 - np.mean([each.stated for each in ended])):.1f}"
    wrong = f"{100 * sum(not each.right for each in ended) / len(found):.1f}"
    return [early, saved, right, stated, wrong, f"{np.mean([each.lost for each in ended]):.2f}"]


def main() -> int:
    parser = harness.parser(__doc__)
    parser.add_argument("--searches", type=int, default=100, help="simulated searches a row (%(default)s)")
    parser.add_argument("--sure", type=float, default=0.95, help="as in --stop-when-sure (%(default)s)")
    parser.set_defaults(data="simulated", backbone="none", weights="none", image_size=0)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searches = 3 if arguments.quick else arguments.searches
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("sureness", "Searches ended by `--stop-when-sure`.", chosen)
    cells = ("ended early, %", "trials saved, %", "of these right, %", "stated, %", "wrong of all, %", "points lost")
    table = report.table(f"Simulated searches, ended when {100 * arguments.sure:g} % sure", "arms", "size", *cells)
    every = add_rows(table, arguments.sure, searches)
    table.add("all", "", *describe(every))
    harness.finish(report, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
