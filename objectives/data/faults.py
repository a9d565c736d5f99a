"""Faults of a dataset that were found before training: copies, leaks, label errors; as records for readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

_OTHERS = "training or validation images"


@dataclass(frozen=True)
class FoundImage:
    """An image in a list of faults.

    Attributes:
        name: Name of its file.
        split: Name of its split.
        label: Label.
        row: Row among the decoded images of the dataset.
        position: Position in its split.
        fold: Number of its fold, from 1, where the training and validation images are divided into folds; else 0.
    """

    name: str
    split: str
    label: int
    row: int
    position: int
    fold: int = 0

    @property
    def place(self) -> str:
        """What it must share with its copies: its fold, without folds its split."""
        return f"fold {self.fold}" if self.fold else self.split


@dataclass(frozen=True)
class Copies:
    """Images that show the same picture.

    Attributes:
        images: The images, two or more, by row.
        exact: Whether all their files have the same bytes.
    """

    images: tuple[FoundImage, ...]
    exact: bool

    @property
    def places(self) -> set[str]:
        """The splits that they are in, or folds."""
        return {image.place for image in self.images}

    @property
    def labels(self) -> set[int]:
        """Their labels."""
        return {image.label for image in self.images}

    def within(self, split: str) -> list[FoundImage]:
        """Those in a split."""
        return [image for image in self.images if image.split == split]

    @property
    def leaked_validation(self) -> list[FoundImage]:
        """Those that validate what trained on another of them. Every fold validates what trained on the others."""
        if any(image.fold for image in self.images):
            outside = [image for image in self.images if image.fold]
            return outside if len({image.fold for image in outside}) > 1 else []
        return self.within("val") if "train" in self.places else []


@dataclass(frozen=True)
class StraddlingGroup:
    """A group, such as a patient, whose images are in several splits.

    Attributes:
        name: Name of the group.
        counts: Number of its images in each split that has some.
        test: Positions of its images in the test split, ascending.
        examples: One of its images from each of those splits.
    """

    name: str
    counts: Mapping[str, int]
    test: tuple[int, ...]
    examples: tuple[FoundImage, ...]


@dataclass(frozen=True)
class LabelError:
    """A training or validation image whose label is probably wrong.

    Attributes:
        image: The image.
        suggested: Class that a probe takes it for, which never saw it.
        probability: Probability of that class, in [0, 1].
        label_probability: Probability of the label, in [0, 1].
    """

    image: FoundImage
    suggested: int
    probability: float
    label_probability: float


@dataclass(frozen=True)
class DataFaults:
    """What is wrong with a dataset.

    Attributes:
        copies: Images that show the same picture.
        label_errors: Likely label errors among training and validation images, the surest first.
        never_right: Classes whose training and validation images a probe never predicts right.
        test_images: Size of the test split.
        not_sought: What was not looked for, and why.
        straddling: Groups in several splits, which come with the data so.
    """

    copies: tuple[Copies, ...] = ()
    label_errors: tuple[LabelError, ...] = ()
    never_right: tuple[int, ...] = ()
    test_images: int = 0
    not_sought: Mapping[str, str] = field(default_factory=dict)
    straddling: tuple[StraddlingGroup, ...] = ()

    @cached_property
    def leaks(self) -> tuple[Copies, ...]:
        """Copies of test images among the training or validation images."""
        return tuple(group for group in self.copies if "test" in group.places and len(group.places) > 1)

    @cached_property
    def leaked_test(self) -> tuple[int, ...]:
        """Positions of the leaked images in the test split, ascending."""
        return tuple(sorted(image.position for group in self.leaks for image in group.within("test")))

    @cached_property
    def straddling_test(self) -> tuple[int, ...]:
        """Positions in the test split of the images whose group has training or validation images, ascending."""
        return tuple(sorted(position for group in self.straddling for position in group.test))

    @property
    def straddling_validation(self) -> int:
        """Number of validation images whose group has training images."""
        return sum(group.counts["val"] for group in self.straddling if {"train", "val"} <= group.counts.keys())

    @cached_property
    def validation_leaks(self) -> tuple[Copies, ...]:
        """Copies of validation images among the training images; with folds, in several folds."""
        return tuple(group for group in self.copies if group.leaked_validation)

    @property
    def leaked_validation(self) -> int:
        """Number of validation images that training images show too; with folds, of images that another fold shows."""
        return sum(len(group.leaked_validation) for group in self.validation_leaks)

    @cached_property
    def in_folds(self) -> bool:
        """Whether copies were sought between folds."""
        return any(image.fold for group in self.copies for image in group.images)

    @cached_property
    def two_labels(self) -> tuple[Copies, ...]:
        """Pictures that are in the dataset under several labels."""
        return tuple(group for group in self.copies if len(group.labels) > 1)

    @cached_property
    def other_copies(self) -> tuple[Copies, ...]:
        """Copies within one split or fold, under one label."""
        return tuple(group for group in self.copies if len(group.places) == 1 and len(group.labels) == 1)

    @property
    def counts(self) -> dict[str, int]:
        """Number of each fault, by name."""
        return {
            "leaked_test_images": len(self.leaked_test),
            "leaked_validation_images": self.leaked_validation,
            "test_images_of_straddling_groups": len(self.straddling_test),
            "validation_images_of_straddling_groups": self.straddling_validation,
            "pictures_under_several_labels": len(self.two_labels),
            "copies_within_a_split": len(self.other_copies),
            "likely_label_errors": len(self.label_errors),
            "classes_never_right": len(self.never_right),
        }

    def to_row(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> DataFaults:
        """Return the faults that :meth:`to_row` gave, of this or a later version, whose other values are ignored."""
        return cls(
            copies=tuple(
                Copies(tuple(FoundImage(**image) for image in group["images"]), group["exact"])
                for group in row["copies"]
            ),
            label_errors=tuple(
                LabelError(**{**error, "image": FoundImage(**error["image"])}) for error in row["label_errors"]
            ),
            never_right=tuple(row["never_right"]),
            test_images=row["test_images"],
            not_sought=dict(row["not_sought"]),
            # Older versions knew no groups.
            straddling=tuple(
                StraddlingGroup(
                    group["name"],
                    group["counts"],
                    tuple(group["test"]),
                    tuple(FoundImage(**image) for image in group["examples"]),
                )
                for group in row.get("straddling", ())
            ),
        )


def describe_faults(faults: DataFaults, classes: Sequence[str]) -> str:
    """Return the faults in a few sentences; empty without faults.

    Args:
        faults: The faults.
        classes: Names of the classes.

    Example:
        >>> from frostline.objectives.data import Copies, DataFaults, FoundImage, describe_faults
        >>> images = FoundImage("a.jpg", "train", 0, 0, 0), FoundImage("b.jpg", "test", 0, 1, 0)
        >>> print(describe_faults(DataFaults((Copies(images, exact=True),), test_images=50), ("cat", "dog")))
        1 of 50 test images (2.0 %) is also in the training or validation images.
    """
    leaked, validation = len(faults.leaked_test), faults.leaked_validation
    labels, errors = len(faults.two_labels), len(faults.label_errors)
    share = 100 * leaked / max(faults.test_images, 1)
    grouped = len(faults.straddling_test)
    unlearned = ", ".join(classes[label] for label in faults.never_right)
    said = (
        (
            leaked,
            f"{leaked:,} of {faults.test_images:,} test images ({share:.1f} %) {_are(leaked)} also in the {_OTHERS}.",
        ),
        (
            grouped,
            f"{grouped:,} of {faults.test_images:,} test images ({100 * grouped / max(faults.test_images, 1):.1f} %) "
            f"{_are(grouped)} of groups that have {_OTHERS} too.",
        ),
        (
            faults.straddling_validation,
            f"{_count(faults.straddling_validation, 'validation image')} {_are(faults.straddling_validation)} of "
            "groups that have training images too.",
        ),
        (validation, _validation_leak(validation, in_folds=faults.in_folds)),
        (labels, f"{_count(labels, 'picture')} {_are(labels)} in the data under several labels."),
        (errors, f"{_count(errors, 'label')} {_are(errors)} probably wrong."),
        (len(faults.never_right), f"A linear probe is never right on {unlearned}."),
    )
    return " ".join(sentence for number, sentence in said if number)


def _validation_leak(images: int, *, in_folds: bool) -> str:
    if in_folds:
        return f"{_count(images, 'image')} {_are(images)} also in another fold, which trains what they validate."
    return f"{_count(images, 'validation image')} {_are(images)} also in the training images."


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
