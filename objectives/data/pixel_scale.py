"""Images of more than 8 bits a channel: the one value that becomes white in all images of a dataset.

Cameras, scanners and microscopes store 10 to 14 bits in a 16-bit file, whose full scale would leave the images almost
black; and floats have no full scale. A scale of each image's own would take away how bright the images are. Images of
other than 3 channels have one value a channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
# One value of white, or one a channel.
Levels = int | tuple[int, ...]


class Whites(Protocol):
    """Knows which value becomes white."""

    def white(self, kind: Kind, highest: float, band: int | None = None) -> int:
        """The value that becomes white in an image.

        Args:
            kind: Kind of its values.
            highest: Its highest value, at most 65535.
            band: The channel that it is about; None for all together.
        """
        ...


@dataclass(frozen=True)
class PixelScale:
    """The values that become white, the same for all images of a dataset and for the network that it trains.

    Attributes:
        integers: Value of images with integers of more than 8 bits, or one a channel; None where the dataset has none.
        floats: Value of images with floats, or one a channel; None where the dataset has none.

    Example:
        >>> from frostline.objectives.data.pixel_scale import PixelScale
        >>> PixelScale(integers=4095).white("integers", highest=700)
        4095
        >>> print(PixelScale(integers=4095).sentence())
        images of more than 8 bits have one scale: of integers, 4095 becomes white
    """

    integers: Levels | None = None
    floats: Levels | None = None

    @classmethod
    def of(cls, known: Mapping[str, int | Sequence[int]]) -> PixelScale:
        """The scale of what :meth:`known` gave, also after it was a file."""
        return cls(**{kind: value if isinstance(value, int) else tuple(value) for kind, value in known.items()})

    def white(self, kind: Kind, highest: float, band: int | None = None) -> int:
        own = self.integers if kind == "integers" else self.floats
        if own is not None:
            return own if isinstance(own, int) else own[band or 0]
        return HIGHEST if kind == "integers" else next(white for white in _LONE_FLOATS if highest <= white)

    def known(self) -> dict[str, Levels]:
        """The values that the dataset decides, by kind; empty for a dataset of 8-bit images."""
        return {kind: white for kind, white in (("integers", self.integers), ("floats", self.floats)) if white}

    def sentence(self) -> str:
        """The scale in words; empty for a dataset of 8-bit images."""
        said = [f"of {kind}, {_in_words(white)}" for kind, white in self.known().items()]
        return f"images of more than 8 bits have one scale: {'; '.join(said)}" if said else ""


class ScaleFinder:
    """Finds the scale of a dataset while its images are decoded, in any number of threads; gives each image the scale
    that it would have alone.
    """

    def __init__(self) -> None:
        self._given: set[tuple[Kind, int | None, int]] = set()

    def white(self, kind: Kind, highest: float, band: int | None = None) -> int:
        white = next(white for white in _WHITES[kind] if highest <= white)
        self._given.add((kind, band, white))
        return white

    def found(self) -> PixelScale:
        """The smallest scale that holds all images."""
        highest: dict[Kind, dict[int | None, int]] = {}
        for kind, band, white in self._given:
            of_kind = highest.setdefault(kind, {})
            of_kind[band] = max(white, of_kind.get(band, 0))
        return PixelScale(
            **{
                kind: whites[None] if None in whites else tuple(whites[band] for band in range(len(whites)))
                for kind, whites in highest.items()
            }
        )

    def agreed(self) -> bool:
        """Whether each image was given the scale of all."""
        return len(self._given) == len({(kind, band) for kind, band, _ in self._given})


def _in_words(white: Levels) -> str:
    if isinstance(white, int) or len({*white}) == 1:
        return f"{white if isinstance(white, int) else white[0]} becomes white"
    return f"{', '.join(map(str, white))} become white, channel by channel"


def to_bytes(values: NDArray[np.generic], whites: Whites, *, by_band: bool = False) -> NDArray[np.uint8]:
    """Scale pixels to 8 bits; values above white stay white.

    Args:
        values: Integers or floats, any shape; or (H, W) or (H, W, C) by band.
        whites: What decides the value of white.
        by_band: Whether each channel has a white of its own.

    Raises:
        ValueError: A value is negative, above 65535 or no number.
    """
    exact = values.astype(np.float64)
    if not np.isfinite(exact).all() or exact.min() < 0 or exact.max() > HIGHEST:
        raise ValueError(f"pixel values outside 0 to {HIGHEST}")
    kind: Kind = "floats" if np.issubdtype(values.dtype, np.floating) else "integers"
    if by_band:
        bands = exact.reshape(*exact.shape[:2], -1)
        highest = bands.max(axis=(0, 1)).tolist()
        white = np.array([whites.white(kind, value, band) for band, value in enumerate(highest)])
        return np.round(np.minimum(bands * (255 / white), 255)).astype(np.uint8).reshape(exact.shape)
    white = whites.white(kind, float(exact.max()))
    return np.round(np.minimum(exact * (255 / white), 255)).astype(np.uint8)
