"""What choosing adds to scores: the winner's curse (Cawley & Talbot 2010, "On Over-fitting in Model Selection").

The trial with the highest of many validation scores was partly lucky. The same configuration, trained with fresh seeds,
shows how much of the luck was that of the seed; the test images, which nothing was chosen by, show the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..records import TrialRecord
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
    """

    strategy: str
    tried: int
    search_score: float
    val_mean: float
    test_mean: float
    highest_test: float


def examine_selection(verdict: Verdict, trials: Sequence[TrialRecord]) -> tuple[Selection, ...]:
    """Compare the scores by which finalists were chosen with those of their finals.

    Args:
        verdict: Verdict of the study.
        trials: Trials of the study.
    """
    return tuple(_selection(contender, trials) for contender in verdict.contenders)


def _selection(contender: Contender, trials: Sequence[TrialRecord]) -> Selection:
    scores = {
        trial.number: trial.score
        for trial in trials
        if trial.strategy == contender.strategy and trial.state == "complete" and trial.score is not None
    }
    return Selection(
        strategy=contender.strategy,
        tried=len(scores),
        search_score=scores[contender.trial_number],
        val_mean=float(np.mean([final.val_score for final in contender.finals])),
        test_mean=contender.mean,
        highest_test=max(contender.scores),
    )
