"""Error analysis of the finalists on the test images: confusions, and the most confident mistakes."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.data import Gallery
from ...search.analysis import Confusion, errors_of
from ...search.study import StudyResults
from ..tables import TextTable
from .confusion import MAX_CLASSES, frequent_confusions
from .mistakes import ShownMistake, show_mistakes
from .thumbnails import ThumbnailMaker


@dataclass(frozen=True)
class ErrorAnalysis:
    """The errors of one finalist, over all its seeds.

    Attributes:
        strategy: Name of the finalist's strategy.
        confusion: Predictions by class.
        pairs: Table of the most frequent confusions.
        mistakes: Wrong predictions with the highest mean probability.
        probabilities_known: Whether the finals recorded probabilities; otherwise those of the mistakes are shares of
            seeds.
    """

    strategy: str
    confusion: Confusion
    pairs: TextTable
    mistakes: tuple[ShownMistake, ...]
    probabilities_known: bool

    @property
    def matrix_fits(self) -> bool:
        """Whether the confusion matrix is small enough to be shown."""
        return len(self.confusion.classes) <= MAX_CLASSES


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
    # Other labels mean that these are not the images that were tested.
    own = gallery if gallery is not None and gallery.holds(finals[0].labels) else None
    errors = errors_of(finals, results.facts.classes)
    return ErrorAnalysis(
        strategy=strategy,
        confusion=errors.confusion,
        pairs=frequent_confusions(errors.confusion),
        mistakes=tuple(show_mistakes(errors, own, thumbnails)),
        probabilities_known=not finals[0].classes_only,
    )
