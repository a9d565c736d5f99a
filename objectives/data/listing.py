"""Listings: datasets before decoding, as labeled images from any source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .splits import split_faults


@dataclass(frozen=True)
class Item:
    """One labeled image.

    Attributes:
        name: Name, unique within the listing: the path below the folder, with slashes, or a generated name.
        label: Index into the listing's classes.
        split: ``"train"``, ``"val"``, ``"test"``, or ``None`` where the source has no splits.
        content: Path of the file, or a function that returns the image.
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
        name: Name of the dataset, for people.
        classes: Class names, in the order of the labels.
        items: Images, sorted by name.
        notes: What a user may not expect of the listing, such as files that are not taken; one sentence each.
    """

    name: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()

    def faults(self) -> list[str]:
        """Reasons why a study cannot use the listing, one message each.

        >>> from pathlib import Path
        >>> from frostline.objectives.data.listing import Item, Listing
        >>> Listing("pets", ("cat",), (Item("cat/1.jpg", 0, None, Path("cat/1.jpg")),)).faults()
        ["pets has only the class 'cat'. Add a folder for at least one more class."]
        """
        if len(self.classes) < 2:
            only = ", ".join(self.classes)
            return [f"{self.name} has only the class {only!r}. Add a folder for at least one more class."]
        return split_faults(self.classes, [item.split for item in self.items], [item.label for item in self.items])


def sorted_by_name(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.name))
