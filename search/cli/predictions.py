"""The images that `predict` is given, and the forms in which it prints its predictions."""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ..formats import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...objectives.data import EncodedImage, ListingOptions

# Seconds between two lines of progress.
_PACE = 5.0


@dataclass(frozen=True)
class Given:
    """An image to classify.

    Attributes:
        name: Name, for people.
        content: The image, or its file.
        cells: Cells of its row by column; empty for an image of no table.
    """

    name: str
    content: EncodedImage
    cells: Mapping[str, str] = field(default_factory=dict)


def find_images(
    given: Sequence[str], standard_input: TextIO, paths: Mapping[str, Any], also: frozenset[str] = frozenset()
) -> list[Given]:
    """Return all images that a user means.

    Args:
        given: Files, folders, whose images at any depth are taken, ``-`` for names on standard input, one a line; or a
            table alone.
        standard_input: Where those names are read.
        paths: Options of a table, by field of :class:`~frostline.objectives.data.ListingOptions`.
        also: Suffixes of files in folders that are images of the network too.

    Raises:
        InvalidInputError: There are none, a table is named beside other images or cannot be used, or its options are
            given without one.
    """
    from ...objectives.data import ListingOptions, holds_table, images_below, option_name
    from ...objectives.errors import InvalidInputError

    options = ListingOptions(**paths)
    if table := next(filter(holds_table, given), None):
        if len(given) > 1:
            raise InvalidInputError(f"{table} is a table: name it alone, or leave it out.")
        return _rows(table, options)
    if options.given():
        told = ", ".join(map(option_name, options.given()))
        raise InvalidInputError(f"{told}: there is no table among the images. Name a CSV, TSV or Parquet file.")
    named: list[str] = []
    for name in given:
        named += [line.strip() for line in standard_input if line.strip()] if name == "-" else [name]
    found: list[str] = []
    for name in named:
        found += [str(path) for path in images_below(Path(name), also)] if Path(name).is_dir() else [name]
    if not found:
        where = ", ".join("standard input" if name == "-" else name for name in given)
        raise InvalidInputError(f"There are no images in {where}. Name image files, or folders that hold some.")
    return [Given(name, Path(name)) for name in found]


def _rows(table: str, options: ListingOptions) -> list[Given]:
    from ...objectives.data import list_rows

    # An exported folder needs no workspace.
    rows = list_rows(table, options.located(table), Path(tempfile.gettempdir()))
    return [Given(row.name, row.content, row.cells) for row in rows]


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
        from ...objectives.data import readable

        self._say(readable(f"skipped {name}: {reason}"))
        self.predicted()

    def end(self) -> int:
        """Return how many images were skipped, and say it."""
        if self._skipped:
            self._say(f"Skipped {self._skipped:,} of {plural(self._images, 'image')}.")
        return self._skipped

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class Writer(Protocol):
    """Prints predictions in one form.

    Args:
        classes: Class names, in the order of the probabilities.
        top: Number of classes to print.
        columns: Columns of the images' table; empty without one.
        out: Where to print.
    """

    def __init__(self, classes: Sequence[str], top: int, columns: Collection[str], out: TextIO) -> None: ...

    def write(self, image: Given, probabilities: NDArray[np.float32]) -> None:
        """Print the most probable classes of an image."""
        ...

    def skip(self, image: Given, reason: str) -> None:
        """Print that an image was skipped."""
        ...

    def end(self) -> None:
        """Print what comes after the last image."""
        ...


class _Lines:
    """One line an image, for people."""

    def __init__(self, classes: Sequence[str], top: int, columns: Collection[str], out: TextIO) -> None:
        self._classes, self._top, self._out = classes, top, out

    def write(self, image: Given, probabilities: NDArray[np.float32]) -> None:
        from ...objectives.data import readable

        ranked = _ranked(self._classes, probabilities, self._top)
        told = ", ".join(f"{label} {100 * probability:.1f} %" for label, probability in ranked)
        print(readable(f"{image.name}: {told}"), file=self._out, flush=True)

    def skip(self, image: Given, reason: str) -> None:
        pass

    def end(self) -> None:
        pass


class _Csv:
    """One row an image, the most probable class first. A row of a table keeps its cells, and stays if it is skipped;
    other skipped images have no row.
    """

    def __init__(self, classes: Sequence[str], top: int, columns: Collection[str], out: TextIO) -> None:
        self._classes, self._top, self._rows = classes, top, csv.writer(out, lineterminator="\n")
        places = range(1, min(top, len(classes)) + 1)
        predicted = [column for place in places for column in (f"class_{place}", f"probability_{place}")]
        # Columns of an earlier prediction are replaced.
        self._columns = [column for column in columns if column not in predicted]
        self._rows.writerow([*(self._columns if columns else ["image"]), *predicted])

    def write(self, image: Given, probabilities: NDArray[np.float32]) -> None:
        ranked = _ranked(self._classes, probabilities, self._top)
        self._rows.writerow(
            [
                *self._own(image),
                *(f"{value:.6f}" if isinstance(value, float) else value for pair in ranked for value in pair),
            ]
        )

    def skip(self, image: Given, reason: str) -> None:
        if image.cells:
            self._rows.writerow([*self._own(image), *[""] * (2 * min(self._top, len(self._classes)))])

    def end(self) -> None:
        pass

    def _own(self, image: Given) -> list[str]:
        return [image.cells[column] for column in self._columns] if image.cells else [image.name]


class _Json:
    """One document, printed at the end."""

    def __init__(self, classes: Sequence[str], top: int, columns: Collection[str], out: TextIO) -> None:
        self._classes, self._top, self._out = classes, top, out
        self._predictions: list[dict[str, Any]] = []
        self._skipped: list[dict[str, Any]] = []

    def write(self, image: Given, probabilities: NDArray[np.float32]) -> None:
        ranked = _ranked(self._classes, probabilities, self._top)
        top = [{"class": label, "probability": probability} for label, probability in ranked]
        self._predictions.append({**self._own(image), "top": top})

    def skip(self, image: Given, reason: str) -> None:
        self._skipped.append({**self._own(image), "reason": reason})

    def end(self) -> None:
        document = {"predictions": self._predictions, "skipped": self._skipped}
        print(json.dumps(document, indent=1, ensure_ascii=False), file=self._out, flush=True)

    def _own(self, image: Given) -> dict[str, Any]:
        return {"image": image.name, **({"row": image.cells} if image.cells else {})}


FORMATS: dict[str, type[Writer]] = {"text": _Lines, "csv": _Csv, "json": _Json}


def _ranked(classes: Sequence[str], probabilities: NDArray[np.float32], top: int) -> list[tuple[str, float]]:
    """Return the most probable classes with their probabilities; of equals, the first class."""
    order: list[int] = (-probabilities).argsort(kind="stable")[:top].tolist()
    return [(classes[place], float(probabilities[place])) for place in order]
