"""The images that `predict` is given, and the forms in which it prints its predictions."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Seconds between two lines of progress.
_PACE = 5.0


def find_images(given: Sequence[str], standard_input: TextIO) -> list[str]:
    """Return the names of all images that a user means.

    Args:
        given: Files, folders, whose images at any depth are taken, or ``-`` for names on standard input, one a line.
        standard_input: Where those names are read.

    Raises:
        InvalidInputError: There are none.
    """
    from ...objectives.data import images_below
    from ...objectives.errors import InvalidInputError

    named: list[str] = []
    for name in given:
        named += [line.strip() for line in standard_input if line.strip()] if name == "-" else [name]
    found: list[str] = []
    for name in named:
        found += [str(path) for path in images_below(Path(name))] if Path(name).is_dir() else [name]
    if not found:
        where = ", ".join("standard input" if name == "-" else name for name in given)
        raise InvalidInputError(f"There are no images in {where}. Name image files, or folders that hold some.")
    return found


class Progress:
    """Tells on standard error how far a long list is, and which images are skipped.

    Args:
        images: Number of images.
        out: Where to write.
    """

    def __init__(self, images: int, out: TextIO) -> None:
        self._images, self._out = images, out
        self._done = self._skipped = 0
        self._said = time.monotonic()

    def predicted(self) -> None:
        """Count an image."""
        self._done += 1
        if time.monotonic() - self._said > _PACE:
            self._said = time.monotonic()
            self._say(f"{self._done:,} of {self._images:,} images")

    def skipped(self, name: str, reason: str) -> None:
        """Count an image that cannot be used, and say why."""
        self._skipped += 1
        self._say(f"skipped {name}: {reason}")
        self.predicted()

    def end(self) -> int:
        """Return how many images were skipped, and say it."""
        if self._skipped:
            self._say(f"{self._skipped:,} of {self._images:,} images were skipped.")
        return self._skipped

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class Writer(Protocol):
    """Prints predictions in one form."""

    def __init__(self, classes: Sequence[str], top: int, out: TextIO) -> None: ...

    def write(self, name: str, probabilities: NDArray[np.float32]) -> None:
        """Print the most probable classes of an image."""
        ...

    def skip(self, name: str, reason: str) -> None:
        """Print that an image was skipped."""
        ...

    def end(self) -> None:
        """Print what comes after the last image."""
        ...


class _Lines:
    """One line an image, for people."""

    def __init__(self, classes: Sequence[str], top: int, out: TextIO) -> None:
        self._classes, self._top, self._out = classes, top, out

    def write(self, name: str, probabilities: NDArray[np.float32]) -> None:
        ranked = _ranked(self._classes, probabilities, self._top)
        told = ", ".join(f"{label} {100 * probability:.1f} %" for label, probability in ranked)
        print(f"{name}: {told}", file=self._out, flush=True)

    def skip(self, name: str, reason: str) -> None:
        pass

    def end(self) -> None:
        pass


class _Csv:
    """One row an image, the most probable class first; skipped images have no row."""

    def __init__(self, classes: Sequence[str], top: int, out: TextIO) -> None:
        self._classes, self._top, self._rows = classes, top, csv.writer(out, lineterminator="\n")
        places = range(1, min(top, len(classes)) + 1)
        columns = [column for place in places for column in (f"class_{place}", f"probability_{place}")]
        self._rows.writerow(["image", *columns])

    def write(self, name: str, probabilities: NDArray[np.float32]) -> None:
        ranked = _ranked(self._classes, probabilities, self._top)
        self._rows.writerow(
            [name, *(f"{value:.6f}" if isinstance(value, float) else value for pair in ranked for value in pair)]
        )

    def skip(self, name: str, reason: str) -> None:
        pass

    def end(self) -> None:
        pass


class _Json:
    """One document, printed at the end."""

    def __init__(self, classes: Sequence[str], top: int, out: TextIO) -> None:
        self._classes, self._top, self._out = classes, top, out
        self._predictions: list[dict[str, Any]] = []
        self._skipped: list[dict[str, str]] = []

    def write(self, name: str, probabilities: NDArray[np.float32]) -> None:
        ranked = _ranked(self._classes, probabilities, self._top)
        top = [{"class": label, "probability": probability} for label, probability in ranked]
        self._predictions.append({"image": name, "top": top})

    def skip(self, name: str, reason: str) -> None:
        self._skipped.append({"image": name, "reason": reason})

    def end(self) -> None:
        document = {"predictions": self._predictions, "skipped": self._skipped}
        print(json.dumps(document, indent=1, ensure_ascii=False), file=self._out, flush=True)


FORMATS: dict[str, type[Writer]] = {"text": _Lines, "csv": _Csv, "json": _Json}


def _ranked(classes: Sequence[str], probabilities: NDArray[np.float32], top: int) -> list[tuple[str, float]]:
    """Return the most probable classes with their probabilities; of equals, the first class."""
    order: list[int] = (-probabilities).argsort(kind="stable")[:top].tolist()
    return [(classes[place], float(probabilities[place])) for place in order]
