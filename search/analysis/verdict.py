"""The verdict: the strategy to use, with differences, intervals and costs.

The strategy with the highest mean test score leads. A cheaper one is recommended in its place only if the leader is
unlikely to be better by more than what does not matter (:data:`INDIFFERENCE` by default): a tie alone is no reason to
give up points. Otherwise the leader is recommended, and if others may be the best as well, the verdict is undecided and
says what would decide it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ...objectives.metrics import find_metric
from ..formats import percent
from ..records import FinalRecord
from .comparison import CONFIDENCE, ONLY_LOOK, Comparing, Comparison, Gap, Interval, Look, compare
from .costs import Costs, costs_of
from .leaks import Leaks

# Differences of score that do not matter, unless a study says otherwise.
INDIFFERENCE = 0.01
# Wall times within this factor count as equal: on a busy machine they vary by that much.
SAME_COST = 1.5
# Seeds or test images beyond this factor are no advice.
_MAX_FACTOR = 20


@dataclass(frozen=True)
class Contender:
    """A strategy in the verdict.

    Attributes:
        strategy: Name of the strategy.
        trial_number: Number of the trial whose configuration was retrained.
        scores: Test score of each seed, in [0, 1].
        seconds: Mean wall time of a training.
        trainable_parameters: Number of parameters that train in the last phase.
        gap_to_leader: Mean test score of the leader minus this strategy's; 0 for the leader.
        gap: What the finals say of ``gap_to_leader``; None for the leader.
        as_good: Whether the leader is unlikely to be better by more than what does not matter.
        score_interval: Confidence interval of the mean test score alone.
        finals: Its finals, one per seed.
    """

    strategy: str
    trial_number: int
    scores: tuple[float, ...]
    seconds: float
    trainable_parameters: int
    gap_to_leader: float
    gap: Gap | None
    as_good: bool
    score_interval: Interval
    finals: tuple[FinalRecord, ...] = field(repr=False, compare=False)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Return the mean over seeds of every metric on the test split; see :attr:`FinalRecord.metrics`."""
        return _means([final.metrics for final in self.finals])

    @cached_property
    def calibrated_metrics(self) -> dict[str, float]:
        """Return the mean over seeds of what calibration changes; see :attr:`FinalRecord.calibrated_metrics`."""
        return _means([final.calibrated_metrics for final in self.finals])

    @property
    def average(self) -> str:
        """Return in words what the mean score is of."""
        return "one seed" if len(self.scores) == 1 else f"mean of {len(self.scores)} seeds"

    @property
    def temperature(self) -> float | None:
        """Return the mean temperature of the seeds; None if one of them has none."""
        known = [final.temperature for final in self.finals if final.temperature is not None]
        return float(np.mean(known)) if len(known) == len(self.finals) else None

    @property
    def costs(self) -> Costs:
        """Return what it costs its users, besides ``seconds``, which alone decides ties."""
        return costs_of(self.finals)

    @property
    def mean(self) -> float:
        """Return the mean test score."""
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float:
        """Return the standard deviation over seeds; 0 for one seed."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0

    @property
    def interval(self) -> Interval | None:
        """Return the simultaneous confidence interval of ``gap_to_leader``; None for the leader."""
        return None if self.gap is None else self.gap.interval

    @property
    def tied(self) -> bool:
        """Return whether the strategy leads, or may be as good as the leader."""
        return self.gap is None or not self.gap.behind


@dataclass(frozen=True)
class Remedy:
    """What would show that the leader is ahead of all others, if its lead is real.

    Attributes:
        seeds: Number of seeds of each strategy in the race; None if seeds alone would not.
        test_images: Number of test images; None if images alone would not.
    """

    seeds: int | None = None
    test_images: int | None = None

    def sentence(self) -> str:
        """Say it.

        >>> Remedy(12, None).sentence()
        'About 12 seeds would decide it, if the lead is real.'
        >>> Remedy().sentence()
        'Neither more seeds nor more test images alone would decide it.'
        """
        ways = [f"{n:,} {what}" for n, what in ((self.seeds, "seeds"), (self.test_images, "test images")) if n]
        if ways:
            return f"About {' or '.join(ways)} would decide it, if the lead is real."
        return "Neither more seeds nor more test images alone would decide it."


@dataclass(frozen=True)
class Verdict:
    """The answer of a study.

    Attributes:
        metric: Name of the metric.
        contenders: All strategies by falling mean test score; those that left a race early come last.
        winner: The recommended strategy: the leader, or a cheaper one that is as good.
        test_images: Size of the test split.
        comparison: What the finals say of all strategies.
        indifference: Difference of score that does not matter.
        confidence: Joint confidence of all intervals.
        leaks: Test images that training or validation images show too; None without any.
    """

    metric: str
    contenders: tuple[Contender, ...]
    winner: Contender
    test_images: int
    comparison: Comparison = field(repr=False)
    indifference: float = INDIFFERENCE
    confidence: float = CONFIDENCE
    leaks: Leaks | None = None

    @property
    def best_shares(self) -> dict[str, float]:
        """Return the probability that a strategy is the best, by strategy; equals share."""
        names = [contender.strategy for contender in self.contenders]
        return dict(zip(names, self.comparison.best_shares, strict=True))

    @property
    def leader(self) -> Contender:
        """Return the strategy with the highest mean test score."""
        return self.contenders[0]

    @property
    def undecided(self) -> bool:
        """Return whether the leader is recommended though others may be as good."""
        return self.winner is self.leader and any(each.tied for each in self.contenders[1:])

    def standing(self, contender: Contender) -> str:
        """Return one word: winner or, if undecided, leads; tie; or nothing for a strategy that is behind."""
        if contender is self.winner:
            return "leads" if self.undecided else "winner"
        return "tie" if contender.tied else ""

    def sentence(self) -> str:
        """Return the verdict in one or two sentences, and a leak of test images."""
        if self.leaks is None:
            return self._decision()
        warning = "Not to be trusted: " if self.leaks.serious else ""
        return f"{warning}{self._decision()} {self.leaks.sentence(self.winner.strategy)}".strip()

    def _decision(self) -> str:
        """Return which strategy wins, or that it is undecided."""
        won, leader = self.winner, self.leader
        low, high = won.score_interval
        score = (
            f"{percent(won.mean)} test {find_metric(self.metric).title} ({won.average}, "
            f"{100 * self.confidence:.0f} % interval {100 * low:.1f} to {100 * high:.1f})"
        )
        if won is not leader:
            return (
                f"{won.strategy} wins: {score}. {leader.strategy} scored {percent(leader.mean)} and takes "
                f"{leader.seconds / max(won.seconds, 1e-9):.1f}x the training time; it is unlikely to be better "
                f"by more than {_points(self.indifference)}."
            )
        if self.undecided:
            return f"Undecided: {won.strategy} leads with {score}. {self._doubt()}"
        if len(self.contenders) == 1:
            return f"{won.strategy} wins: {score}, with no other to compare."
        sure = f"{100 * self.confidence:.0f} % confidence"
        return f"{won.strategy} wins: {score}, ahead of all others beyond chance ({sure})."

    def _doubt(self) -> str:
        """Say which strategies may be the best, and what would decide between them."""
        tied = [each.strategy for each in self.contenders if each.tied]
        chances = ", ".join(f"{name} {100 * self.best_shares[name]:.0f} %" for name in tied)
        return f"The best may be: {chances}. {self.remedy.sentence()}"

    @cached_property
    def remedy(self) -> Remedy:
        """Return what would show that the leader is ahead of all others, if its lead is real."""
        gaps = [each.gap for each in self.contenders if each.gap is not None and each.tied]
        if not (self.undecided and gaps):
            return Remedy()
        seeds = max(_factor(gap, math.hypot(gap.seed_error, gap.answer_error), gap.image_error) for gap in gaps)
        images = max(_factor(gap, math.hypot(gap.image_error, gap.answer_error), gap.seed_error) for gap in gaps)
        return Remedy(_times(seeds, len(self.leader.scores)), _times(images, self.test_images))


def _times(factor: float, number: int) -> int | None:
    return math.ceil(factor * number) if factor <= _MAX_FACTOR else None


def _factor(gap: Gap, varied: float, fixed: float) -> float:
    """Return how many times as much of what makes the error ``varied`` would put 0 outside the gap's interval."""
    low, high = gap.interval
    observed, total = (low + high) / 2, math.hypot(varied, fixed)
    if observed <= 0 or total == 0:
        return math.inf
    # Half of the interval's width, in standard errors.
    width = (high - low) / 2 / total
    left = (observed / width) ** 2 - fixed**2
    return varied**2 / left if left > 0 else math.inf


def _points(share: float) -> str:
    number = f"{100 * share:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def reach_verdict(
    finals: Sequence[FinalRecord],
    metric: str,
    *,
    indifference: float = INDIFFERENCE,
    look: Look = ONLY_LOOK,
    left: Collection[str] = (),
    seed: int = 0,
    comparing: Comparing = compare,
) -> Verdict:
    """Compare the finals of the strategies.

    Args:
        finals: Finals with one or more seeds per strategy, on the same test images in the same order.
        metric: Name of a metric that a study can maximize.
        indifference: Difference of score that does not matter.
        look: Earlier comparisons of these strategies, if their finals race.
        left: Strategies that earlier comparisons found behind.
        seed: Seed of the draws.
        comparing: Gives the comparison, as :func:`compare` does.

    Raises:
        ValueError: There are no finals, or they were tested on different images.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import reach_verdict
        >>> from frostline.search.records import FinalRecord
        >>> labels = np.arange(40) % 2
        >>> right = np.eye(2, dtype=np.float32)[labels]
        >>> half = np.full_like(right, 0.5)
        >>> finals = [
        ...     FinalRecord("full", 3, 1000, 1.0, 1.0, 9.0, 500, labels, right),
        ...     FinalRecord("scratch", 5, 1000, 0.5, 0.5, 9.0, 500, labels, half),
        ... ]
        >>> verdict = reach_verdict(finals, "accuracy")
        >>> verdict.winner.strategy, verdict.contenders[1].gap_to_leader, verdict.contenders[1].tied
        ('full', 0.5, False)
    """
    if not finals:
        raise ValueError("no finals to compare")
    labels = finals[0].labels
    if any(not np.array_equal(final.labels, labels) for final in finals):
        raise ValueError("the finals were not tested on the same images")
    by_strategy: dict[str, list[FinalRecord]] = {}
    # Sorted, so the result does not depend on the order in which the finals ended.
    for final in sorted(finals, key=lambda final: (final.strategy, final.seed)):
        by_strategy.setdefault(final.strategy, []).append(final)
    ranked = sorted(by_strategy.values(), key=lambda group: (group[0].strategy in left, *_rank(group)))
    racing = sum(group[0].strategy not in left for group in ranked)
    comparison = comparing(ranked, metric, seed, replace(look, racing=racing))
    contenders = tuple(
        _contender(group, ranked[0], gap, score_interval, indifference)
        for group, gap, score_interval in zip(ranked, (None, *comparison.gaps), comparison.score_intervals, strict=True)
    )
    return Verdict(metric, contenders, _winner(contenders), len(labels), comparison, indifference)


def _means(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each number that all seeds have."""
    names = [name for name in seeds[0] if all(name in numbers for numbers in seeds)]
    return {name: float(np.mean([numbers[name] for numbers in seeds])) for name in names}


def _rank(group: Sequence[FinalRecord]) -> tuple[float, float]:
    """Return a sort key: best mean first, of equals the cheaper."""
    return -float(np.mean([final.test_score for final in group])), float(np.mean([final.seconds for final in group]))


def _winner(contenders: Sequence[Contender]) -> Contender:
    """Return the best of the cheapest among those that are as good as the leader; the leader comes first."""
    good = [contender for contender in contenders if contender.as_good]
    cheapest = min(contender.seconds for contender in good)
    return next(contender for contender in good if contender.seconds <= SAME_COST * cheapest)


def _contender(
    group: Sequence[FinalRecord],
    leaders: Sequence[FinalRecord],
    gap: Gap | None,
    score_interval: Interval,
    indifference: float,
) -> Contender:
    scores = tuple(final.test_score for final in group)
    return Contender(
        strategy=group[0].strategy,
        trial_number=group[0].trial_number,
        scores=scores,
        seconds=float(np.mean([final.seconds for final in group])),
        trainable_parameters=group[0].trainable_parameters,
        gap_to_leader=float(np.mean([final.test_score for final in leaders]) - np.mean(scores)),
        gap=gap,
        as_good=gap is None or gap.likely_at_most <= indifference,
        score_interval=score_interval,
        finals=tuple(group),
    )
