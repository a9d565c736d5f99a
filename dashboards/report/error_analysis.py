"""The finalists on the test images: what each takes for what, and where it errs most surely."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.data.gallery import Gallery
from ...search.study.results import StudyResults
from ..tables import TextTable
from .confusion import Confusion, confuse, frequent_confusions
from .mistakes import Mistake, worst_mistakes
from .thumbnails import ThumbnailMaker


@dataclass(frozen=True)
class Examination:
    """One finalist, all its seeds together.

    Attributes:
        confusion: Its predictions by class.
        pairs: The most frequent confusions.
        mistakes: The wrong predictions it is surest of.
    """

    confusion: Confusion
    pairs: TextTable
    mistakes: tuple[Mistake, ...]


def examine_finalists(results: StudyResults, gallery: Gallery | None) -> list[Examination]:
    """Every finalist of a verdict, the winner first; none before the verdict.

    Args:
        results: The study.
        gallery: Its images, if they are at hand.
    """
    verdict = results.verdict
    if verdict is None:
        return []
    others = [contender for contender in verdict.contenders if contender is not verdict.winner]
    thumbnails = ThumbnailMaker()
    return [_examine(results, contender.strategy, gallery, thumbnails) for contender in (verdict.winner, *others)]


def _examine(results: StudyResults, strategy: str, gallery: Gallery | None, thumbnails: ThumbnailMaker) -> Examination:
    finals = [final for final in results.finals if final.strategy == strategy]
    classes = results.facts.classes
    # Images of other classes in this order would be other images.
    own = gallery if gallery is not None and gallery.holds(finals[0].labels) else None
    confusion = confuse(finals, classes)
    mistakes = worst_mistakes(finals, classes, own, thumbnails)
    return Examination(confusion, frequent_confusions(confusion), tuple(mistakes))
