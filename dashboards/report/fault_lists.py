"""The faults of the data as the report lists them, with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...objectives.data import Copies, DataFaults, FoundImage, Gallery, LabelError, StraddlingGroup
from ...search.formats import percent
from ...search.study import StudyResults
from .thumbnails import ThumbnailMaker

# Number of entries of a fault with pictures; of the others, names are listed.
_SHOWN = 12
# Number of images shown of a group of copies.
_IMAGES = 2
# Size of all thumbnails of these lists together, in characters.
_BUDGET = 150_000


@dataclass(frozen=True)
class ShownImage:
    """An image in a list.

    Attributes:
        name: Name of its file.
        split: Name of its split, or its fold.
        label: Name of its class.
        thumbnail: Picture as a data URI; None if the image is not available.
    """

    name: str
    split: str
    label: str
    thumbnail: str | None


@dataclass(frozen=True)
class Entry:
    """An entry of a list.

    Attributes:
        pictures: Images to show.
        remark: What is wrong, if the images do not show it.
        more: Number of images that are not shown.
    """

    pictures: tuple[ShownImage, ...]
    remark: str = ""
    more: int = 0


@dataclass(frozen=True)
class FaultList:
    """A kind of fault.

    Attributes:
        title: Title with the number of faults.
        advice: What to do.
        shown: First entries, with pictures.
        names: Names of the images of each other entry.
    """

    title: str
    advice: str
    shown: tuple[Entry, ...] = ()
    names: tuple[str, ...] = ()


def list_faults(results: StudyResults, gallery: Gallery | None) -> list[FaultList]:
    """Return the faults of a study's data, one list for each kind; empty without faults.

    Args:
        results: Results of the study.
        gallery: Images of the study; None for lists without pictures.
    """
    faults = results.data_faults
    if faults is None:
        return []
    lister = _Lister(results.facts.classes, gallery)
    part = "fold" if faults.in_folds else "split"
    kinds = [
        (
            f"Test images that are also in the training or validation images: {len(faults.leaked_test):,}",
            "Remove these copies from one side: the test scores are probably too high.",
            faults.leaks,
        ),
        (
            f"{_leaked_validation(faults)}: {faults.leaked_validation:,}",
            "Remove these copies from one side: the search favored what remembers them.",
            faults.validation_leaks,
        ),
        (
            f"Pictures under several labels: {len(faults.two_labels):,}",
            "Keep the copy with the right label.",
            faults.two_labels,
        ),
        (
            f"Pictures that are several times in one {part}: {len(faults.other_copies):,}",
            "They count several times. Keep one of each, unless that is meant.",
            faults.other_copies,
        ),
    ]
    lists = [lister.copies(title, advice, groups) for title, advice, groups in kinds if groups]
    if faults.straddling:
        lists.append(lister.straddling(faults.straddling))
    if faults.label_errors:
        lists.append(lister.label_errors(faults.label_errors))
    return [*lists, *_without_images(faults, results)]


def _leaked_validation(faults: DataFaults) -> str:
    if faults.in_folds:
        return "Images that are also in another fold"
    return "Validation images that are also in the training images"


def _without_images(faults: DataFaults, results: StudyResults) -> list[FaultList]:
    lists = []
    if faults.never_right:
        names = ", ".join(results.facts.classes[label] for label in faults.never_right)
        advice = "A linear probe on the pretrained features gets no training or validation image of these right: "
        lists.append(FaultList("Classes that a probe never predicts right", f"{advice}{names}."))
    if results.never_right:
        names = ", ".join(results.never_right)
        advice = f"The recommended strategy gets no test image of these right, with any seed: {names}."
        lists.append(FaultList("Classes that are never predicted right", advice))
    if faults.not_sought:
        reasons = "; ".join(f"{what} ({reason})" for what, reason in faults.not_sought.items())
        lists.append(FaultList("Not looked for", f"{reasons[0].upper()}{reasons[1:]}."))
    return lists


def _describe(group: StraddlingGroup) -> str:
    return f"{group.name}: {', '.join(f'{count:,} {split}' for split, count in group.counts.items())}"


class _Lister:
    """Makes lists whose pictures share one budget.

    Args:
        classes: Names of the classes.
        gallery: Images of the study; None for lists without pictures.
    """

    def __init__(self, classes: Sequence[str], gallery: Gallery | None) -> None:
        self._classes = classes
        self._gallery = gallery
        self._thumbnails = ThumbnailMaker(_BUDGET)

    def copies(self, title: str, advice: str, groups: Sequence[Copies]) -> FaultList:
        names = tuple(", ".join(image.name for image in group.images) for group in groups[_SHOWN:])
        return FaultList(title, advice, tuple(map(self._group, groups[:_SHOWN])), names)

    def label_errors(self, errors: Sequence[LabelError]) -> FaultList:
        advice = (
            "Look at these labels: a linear probe on the pretrained features, which never saw these images, clearly "
            "takes them for another class. Some are right and merely hard."
        )
        names = tuple(f"{error.image.name}: {self._classes[error.suggested]}?" for error in errors[_SHOWN:])
        return FaultList(
            f"Likely label errors: {len(errors):,}", advice, tuple(map(self._error, errors[:_SHOWN])), names
        )

    def straddling(self, groups: Sequence[StraddlingGroup]) -> FaultList:
        entries = tuple(Entry(tuple(map(self._image, group.examples)), _describe(group)) for group in groups[:_SHOWN])
        return FaultList(
            f"Groups that are in several splits: {len(groups):,}",
            "Give each group one split: the test scores are probably too high for new groups.",
            entries,
            tuple(map(_describe, groups[_SHOWN:])),
        )

    def _group(self, group: Copies) -> Entry:
        pictures = tuple(map(self._image, _one_of_each_split(group)))
        return Entry(pictures, "" if group.exact else "nearly the same", len(group.images) - len(pictures))

    def _error(self, error: LabelError) -> Entry:
        taken = f"taken for {self._classes[error.suggested]}, {percent(error.probability)} sure"
        return Entry((self._image(error.image),), taken)

    def _image(self, image: FoundImage) -> ShownImage:
        gallery = self._gallery
        # Another name means that these are not the images that were searched.
        known = gallery is not None and image.row < len(gallery.names) and gallery.names[image.row] == image.name
        thumbnail = self._thumbnails.make_row(gallery, image.row) if gallery is not None and known else None
        return ShownImage(image.name, image.place, self._classes[image.label], thumbnail)


def _one_of_each_split(group: Copies) -> list[FoundImage]:
    """The images to show: those of different splits and labels first, since they are the fault."""
    first: dict[tuple[str, int], FoundImage] = {}
    for image in group.images:
        first.setdefault((image.place, image.label), image)
    chosen = list(first.values())
    others = [image for image in group.images if image not in chosen]
    ordered = sorted(chosen, key=lambda image: image.split == "train") + others
    return ordered[:_IMAGES]
