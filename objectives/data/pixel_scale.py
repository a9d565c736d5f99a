"""Images of more than 8 bits a channel: the one value that becomes white in all images of a dataset.

Cameras, scanners and microscopes store 10 to 14 bits in a 16-bit file, whose full scale would leave the images almost
black; and floats have no full scale. A scale of each image's own would take away how bright the images are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

# Largest values of 8, 10, 12, 14 and 16 bits, and those of floats, between which there is no usual one.
_WHITES = {
    "integers": (255, 1023, 4095, 16383, 65535),
    "floats": (1, 2, 4, 8, 16, 32, 64, 128, 255, 1023, 4095, 16383, 65535),
}
# What a single float image can be, without a dataset around it.
_LONE_FLOATS = (1, 255, 65535)
HIGHEST = 65535

Kind = Literal["integers", "floats"]


class Whites(Protocol):
    """Knows which value becomes white."""

    def white(self, kind: Kind, highest: float) -> int:
        """The value that becomes white in an image.

        Args:
            kind: Kind of its values.
            highest: Its highest value, at most 65535.
        """
        ...


@dataclass(frozen=True)
class PixelScale:
    """The values that become white, the same for all images of a dataset and for the network that it trains.

    Attributes:
        integers: Value of images with integers of more than 8 bits; None where the dataset has none.
        floats: Value of images with floats; None where the dataset has none.

    Example:
        >>> from frostline.objectives.data.pixel_scale import PixelScale
        >>> PixelScale(integers=4095).white("integers", highest=700)
        4095
        >>> print(PixelScale(integers=4095).sentence())
        images of more than 8 bits have one scale: of integers, 4095 becomes white
    """

    integers: int | None = None
    floats: int | None = None

    def white(self, kind: Kind, highest: float) -> int:
        own = self.integers if kind == "integers" else self.floats
        if own is not None:
            return own
        return HIGHEST if kind == "integers" else next(white for white in _LONE_FLOATS if highest <= white)

    def known(self) -> dict[str, int]:
        """The values that the dataset decides, by kind; empty for a dataset of 8-bit images."""
        return {kind: white for kind, white in (("integers", self.integers), ("floats", self.floats)) if white}

    def sentence(self) -> str:
        """The scale in words; empty for a dataset of 8-bit images."""
        said = [f"of {kind}, {white} becomes white" for kind, white in self.known().items()]
        return f"images of more than 8 bits have one scale: {'; '.join(said)}" if said else ""


class ScaleFinder:
    """Finds the scale of a dataset while its images are decoded, in any number of threads; gives each image the scale
    that it would have alone.
    """

    def __init__(self) -> None:
        self._given: list[tuple[Kind, int]] = []

    def white(self, kind: Kind, highest: float) -> int:
        white = next(white for white in _WHITES[kind] if highest <= white)
        self._given.append((kind, white))
        return white

    def found(self) -> PixelScale:
        """The smallest scale that holds all images."""
        return PixelScale(**{kind: max(white for each, white in self._given if each == kind) for kind in self._kinds()})

    def agreed(self) -> bool:
        """Whether each image was given the scale of all."""
        return len(set(self._given)) == len(self._kinds())

    def _kinds(self) -> set[Kind]:
        return {kind for kind, _ in self._given}


def to_bytes(values: NDArray[np.generic], whites: Whites) -> NDArray[np.uint8]:
    """Scale pixels to 8 bits; values above white stay white.

    Args:
        values: Integers or floats, any shape.
        whites: What decides the value of white.

    Raises:
        ValueError: A value is negative, above 65535 or no number.
    """
    exact = values.astype(np.float64)
    if not np.isfinite(exact).all() or exact.min() < 0 or exact.max() > HIGHEST:
        raise ValueError(f"pixel values outside 0 to {HIGHEST}")
    kind: Kind = "floats" if np.issubdtype(values.dtype, np.floating) else "integers"
    white = whites.white(kind, float(exact.max()))
    return np.round(np.minimum(exact * (255 / white), 255)).astype(np.uint8)
