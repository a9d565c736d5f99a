"""A dataset before decoding: labelled images, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .splits import split_faults


@dataclass(frozen=True)
class Item:
    """One labelled image.

    Attributes:
        name: Unique within its listing: the path below the folder, with slashes, or a made-up one.
        label: Index into the listing's classes.
        split: ``"train"``, ``"val"``, ``"test"``, or ``None`` where the source has no splits.
        content: The file, or a function that gives the image.
    """

    name: str
    label: int
    split: str | None
    content: Path | Callable[[], Image.Image]

    def read(self) -> bytes | Image.Image:
        """The undecoded file, or the image.

        Raises:
            OSError: The file cannot be read.
        """
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content()


@dataclass(frozen=True)
class Listing:
    """A dataset before decoding.

    Attributes:
        name: For people.
        classes: Names, in the order of the labels.
        items: Sorted by name.
    """

    name: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]

    def faults(self) -> list[str]:
        """What makes the listing unfit for a study, one message each."""
        if len(self.classes) < 2:
            only = ", ".join(self.classes)
            return [f"{self.name} has the single class {only!r}. Add a folder for each other class: 2 are the least."]
        return split_faults(self.classes, [item.split for item in self.items], [item.label for item in self.items])


def sorted_by_name(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.name))
