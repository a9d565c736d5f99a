"""What choosing adds to scores: the winner's curse (Cawley & Talbot 2010, "On Over-fitting in Model Selection").

The trial with the highest of many validation scores was partly lucky. The same configuration, trained with fresh seeds,
shows how much of the luck was that of the seed; the test images, which nothing was chosen by, show the rest. Whether
the search was worth its time is told by the strategy's default configuration, which no score was needed to find
(overtuning: Schneider et al. 2025, arXiv 2506.19540).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..records import FinalRecord, TrialRecord
from .comparison import ONLY_LOOK, Comparing, Interval, compare
from .verdict import Contender, Verdict


@dataclass(frozen=True)
class Selection:
    """How a strategy's finalist was chosen, and what it scores without the luck of the choice. Scores are in [0, 1].

    Attributes:
        strategy: Name of the strategy.
        tried: Number of complete trials that it was chosen from.
        search_score: Its validation score in the search: the highest.
        val_mean: Mean validation score of its finals, on the same images with fresh seeds.
        test_mean: Mean test score of its finals.
        highest_test: Highest test score of a single final.
        gain: What the search gained over the strategy's default configuration; None if the default was not tested.
    """

    strategy: str
    tried: int
    search_score: float
    val_mean: float
    test_mean: float
    highest_test: float
    gain: SearchGain | None = None


@dataclass(frozen=True)
class SearchGain:
    """By how much a finalist's mean test score is above that of its strategy's default configuration.

    Attributes:
        points: The difference of the means, in [-1, 1]; 0 if the default is the finalist.
        interval: 95 % confidence interval; None if the default is the finalist.
        default_test: Mean test score of the default.
    """

    points: float
    interval: Interval | None
    default_test: float

    @property
    def beyond_chance(self) -> bool:
        """Return whether the search gained something beyond chance."""
        return self.interval is not None and self.interval[0] > 0


def examine_selection(
    verdict: Verdict,
    trials: Sequence[TrialRecord],
    defaults: Mapping[str, Sequence[FinalRecord]],
    comparing: Comparing = compare,
) -> tuple[Selection, ...]:
    """Compare the scores by which finalists were chosen with those of their finals.

    Args:
        verdict: Verdict of the study.
        trials: Trials of the study.
        defaults: Finals of the strategies' default configurations, of those that were tested.
        comparing: Gives a comparison, as :func:`~frostline.search.analysis.comparison.compare` does.
    """
    return tuple(
        _selection(contender, trials, _gain(contender, defaults.get(contender.strategy, ()), verdict.metric, comparing))
        for contender in verdict.contenders
    )


def _gain(contender: Contender, default: Sequence[FinalRecord], metric: str, comparing: Comparing) -> SearchGain | None:
    if not default:
        return None
    mean = float(np.mean([final.test_score for final in default]))
    if default[0].trial_number == contender.trial_number:
        return SearchGain(0.0, None, mean)
    better = contender.mean >= mean
    ranked = [contender.finals, default] if better else [default, contender.finals]
    low, high = comparing(ranked, metric, 0, ONLY_LOOK).gaps[0].interval
    return SearchGain(contender.mean - mean, (low, high) if better else (-high, -low), mean)


def _selection(contender: Contender, trials: Sequence[TrialRecord], gain: SearchGain | None) -> Selection:
    scores = {
        trial.number: trial.score
        for trial in trials
        if trial.strategy == contender.strategy and trial.ranked and trial.score is not None
    }
    return Selection(
        strategy=contender.strategy,
        tried=len(scores),
        search_score=scores[contender.trial_number],
        val_mean=float(np.mean([final.val_score for final in contender.finals])),
        test_mean=contender.mean,
        highest_test=max(contender.scores),
        gain=gain,
    )
