"""Error analysis of the finalists on the test images: confusions, and the most confident mistakes."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.data import Gallery
from ...search.study import StudyResults
from ..tables import TextTable
from .confusion import Confusion, confuse, frequent_confusions
from .mistakes import Mistake, worst_mistakes
from .thumbnails import ThumbnailMaker


@dataclass(frozen=True)
class ErrorAnalysis:
    """The errors of one finalist, over all its seeds.

    Attributes:
        confusion: Predictions by class.
        pairs: Table of the most frequent confusions.
        mistakes: Wrong predictions with the highest confidence.
    """

    confusion: Confusion
    pairs: TextTable
    mistakes: tuple[Mistake, ...]


def analyze_finalists(results: StudyResults, gallery: Gallery | None) -> list[ErrorAnalysis]:
    """Analyze the errors of every finalist, the winner first.

    Args:
        results: Results of the study.
        gallery: Images of the study; None for an analysis without pictures.

    Returns:
        One analysis for each finalist; empty before the verdict.
    """
    verdict = results.verdict
    if verdict is None:
        return []
    others = [contender for contender in verdict.contenders if contender is not verdict.winner]
    thumbnails = ThumbnailMaker()
    return [_analyze(results, contender.strategy, gallery, thumbnails) for contender in (verdict.winner, *others)]


def _analyze(
    results: StudyResults, strategy: str, gallery: Gallery | None, thumbnails: ThumbnailMaker
) -> ErrorAnalysis:
    finals = [final for final in results.finals if final.strategy == strategy]
    classes = results.facts.classes
    # Other labels mean that these are not the images that were tested.
    own = gallery if gallery is not None and gallery.holds(finals[0].labels) else None
    confusion = confuse(finals, classes)
    mistakes = worst_mistakes(finals, classes, own, thumbnails)
    return ErrorAnalysis(confusion, frequent_confusions(confusion), tuple(mistakes))
