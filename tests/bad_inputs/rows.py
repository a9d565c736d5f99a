"""Rows of the table of bad inputs, and what they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..noise import write_photos

GOOD = ["-b", "tiny_network:create", "--weights", "none", "--image-size", "32", "--trials", "5"]
STUDY = "known"

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Row:
    """A bad input.

    Attributes:
        args: Arguments of the command line.
        words: What the message must say: the thing, and the next step.
        make: Makes the files of the input in the current folder.
        cached: Whether images may have been decoded before it is found.
        env: Environment variables.
    """

    args: tuple[str, ...]
    words: tuple[str, ...]
    make: Make = lambda _: None
    cached: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


def search(*options: str, say: tuple[str, ...], make: Make = lambda _: None) -> Row:
    """A search of good photos with bad options."""
    return Row(("search", "photos", *GOOD, *options), say, make)


def data(name: str, make: Make, *say: str, cached: bool = False) -> Row:
    """A search of bad data."""
    return Row(("search", name, *GOOD), say, make, cached)


def command(text: str, *say: str, make: Make = lambda _: None) -> Row:
    return Row(tuple(text.split()), say, make)


def pictures(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 4) -> Path:
    return write_photos(folder, dict.fromkeys(classes, count), size=(8, 8))


def text(name: str, content: str | bytes = "") -> Make:
    def make(here: Path) -> None:
        file = here / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make
