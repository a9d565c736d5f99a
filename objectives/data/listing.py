"""Listings: datasets before decoding, as labeled images from any source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .splits import split_faults


@dataclass(frozen=True)
class Embedded:
    """The file of an image inside another file: a table, or an archive.

    Attributes:
        file: The file around it.
        read_bytes: Returns the image's own bytes; raises OSError if it cannot be read.
    """

    file: Path
    read_bytes: Callable[[], bytes]


@dataclass(frozen=True)
class Item:
    """One labeled image.

    Attributes:
        name: Name, unique within the listing: the path below the folder, with slashes, or a generated name.
        label: Index into the listing's classes.
        split: ``"train"``, ``"val"``, ``"test"``, or ``None`` where the source has no splits.
        content: Path of the file, the file inside another one, or a function that returns the image.
        group: Group of images that belong together, such as those of a patient; ``None`` where there are none.
    """

    name: str
    label: int
    split: str | None
    content: Path | Embedded | Callable[[], Image.Image]
    group: str | None = None

    @property
    def file(self) -> Path | None:
        """The file that holds the image; None for an image that is made."""
        if isinstance(self.content, Embedded):
            return self.content.file
        return self.content if isinstance(self.content, Path) else None

    def read(self) -> bytes | Image.Image:
        """The undecoded file, or the image.

        Raises:
            OSError: The file cannot be read.
        """
        return self.content.read_bytes() if isinstance(self.content, Path | Embedded) else self.content()


@dataclass(frozen=True)
class Listing:
    """A dataset before decoding.

    Attributes:
        name: Name of the dataset, for people.
        classes: Class names, in the order of the labels.
        items: Images, sorted by name.
        notes: What a user may not expect of the listing, such as files that are not taken; one sentence each.
        grouped_by: What makes the groups, in words; empty without groups.
    """

    name: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    grouped_by: str = ""

    @property
    def labels(self) -> list[int]:
        """Label of each image."""
        return [item.label for item in self.items]

    @property
    def splits(self) -> list[str | None]:
        """Split of each image."""
        return [item.split for item in self.items]

    @property
    def groups(self) -> list[str] | None:
        """Group of each image; None without groups."""
        return groups_of(self.items)

    def faults(self) -> list[str]:
        """Reasons why a study cannot use the listing, one message each.

        >>> from pathlib import Path
        >>> from frostline.objectives.data.listing import Item, Listing
        >>> Listing("pets", ("cat",), (Item("cat/1.jpg", 0, None, Path("cat/1.jpg")),)).faults()
        ["pets has only the class 'cat'. Add images of at least one more class."]
        """
        if len(self.classes) < 2:
            only = ", ".join(self.classes)
            return [f"{self.name} has only the class {only!r}. Add images of at least one more class."]
        return split_faults(self.classes, self.splits, self.labels, self.groups)


def sorted_by_name(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.name))


def groups_of(items: Iterable[Item]) -> list[str] | None:
    """Group of each image; None without groups."""
    groups = [item.group for item in items]
    return [str(group) for group in groups] if any(group is not None for group in groups) else None


def alike_but_for_case(names: Collection[str]) -> list[list[str]]:
    """Names that differ in case alone, in groups. Letters are names of their own: a, A.

    >>> from frostline.objectives.data.listing import alike_but_for_case
    >>> alike_but_for_case(["cat", "dog", "Cat", "a", "A"])
    [['Cat', 'cat']]
    """
    folded: dict[str, list[str]] = {}
    for name in sorted(names):
        folded.setdefault(name.casefold(), []).append(name)
    return [alike for alike in folded.values() if len(alike) > 1 and all(len(name) > 1 for name in alike)]
