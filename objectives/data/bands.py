"""Images of other than 3 channels: multispectral TIFFs, stacks of a microscope, arrays of NumPy, color with alpha.

Every channel is kept as it is: an alpha channel is one of four, and no image is made color. Values of more than 8 bits
have one scale a channel, since the bands of a satellite differ in range (:mod:`.pixel_scale`).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InvalidInputError
from ..preprocessing import RGB, Preprocessing, plural_channels
from .channel_counts import is_array, is_tiff
from .decoding import (
    EncodedImage,
    UndecodableImageError,
    check_sides,
    decode_image,
    eight_bits,
    one_if_large,
    opened,
    reason_of,
    to_canvas,
    upright,
)
from .pixel_scale import PixelScale, Whites, to_bytes

# Values of an image; a header may claim any number.
_MOST_VALUES = 2**31
# What EXIF's orientations 2 to 8 turn, by rows and columns.
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
    8: lambda values: np.rot90(values),
}


def decode_canvas(
    source: EncodedImage,
    preprocessing: Preprocessing,
    whites: Whites = PixelScale(),  # noqa: B008
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode an image and cut its canvas out; see :func:`to_canvas`.

    Args:
        source: Image, see :func:`decode_image`; of other than 3 channels, see :func:`decode_bands`.
        preprocessing: Preprocessing, which says how many channels C and which side R.
        whites: Which of more than 8-bit values becomes white.

    Returns:
        Canvas, uint8 (R, R, C), and width and height of the image, pixels.

    Raises:
        UndecodableImageError: See the functions above.
    """
    if preprocessing.channels == RGB:
        image = decode_image(source, whites)
        return to_canvas(image, preprocessing), image.size
    bands = decode_bands(source, preprocessing.channels, whites)
    return bands_canvas(bands, preprocessing), (bands.shape[1], bands.shape[0])


def decode_bands(source: EncodedImage, channels: int, whites: Whites = PixelScale()) -> NDArray[np.uint8]:  # noqa: B008
    """Decode an image with all its channels, upright, 8 bits each.

    Args:
        source: A path, a file inside another one, or the bytes of a file: a TIFF with its channels in any place, or one
            a page; an array of NumPy's format, (H, W, C) or (C, H, W); or any other image with its own 1 to 4
            channels. Or an opened image, or an array.
        channels: Number of channels C that it must have.
        whites: Which of more than 8-bit values becomes white: the scale of the dataset.

    Returns:
        uint8 (H, W, C).

    Raises:
        UndecodableImageError: It has another number of channels; or see :func:`decode_image`.
        InvalidInputError: A library that reads such files is not installed.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.data.bands import decode_bands
        >>> decode_bands(np.zeros((5, 40, 60), dtype=np.uint8), channels=5).shape
        (40, 60, 5)
    """
    try:
        bands = _bands(source, channels, whites)
    except (InvalidInputError, MemoryError):
        raise
    except Exception as error:  # decoders raise almost anything on a damaged file
        raise UndecodableImageError(reason_of(error)) from error
    found = bands.shape[2]
    if found != channels:
        other = "without --channels" if found == RGB else f"with --channels {found}"
        raise UndecodableImageError(f"has {plural_channels(found)}, not {channels}: take it out, or search {other}")
    return bands


def bands_canvas(bands: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The canvas, uint8 (R, R, C), of an image (H, W, C): each channel as :func:`to_canvas` treats those of color."""
    channels = bands.shape[2]
    parts = []
    for start in range(0, channels, RGB):
        # Three at a time are an image in color; the last ones are made up to three.
        chosen = [min(place, channels - 1) for place in range(start, start + RGB)]
        statistics = {name: tuple(getattr(preprocessing, name)[place] for place in chosen) for name in ("mean", "std")}
        color = Image.fromarray(np.ascontiguousarray(bands[..., chosen]))
        parts.append(to_canvas(color, replace(preprocessing, **statistics)))
    return np.ascontiguousarray(np.concatenate(parts, axis=2)[..., :channels])


def _bands(source: EncodedImage, channels: int, whites: Whites) -> NDArray[np.uint8]:
    if isinstance(source, np.ndarray):
        return _scaled(_arranged(source, channels), whites)
    if isinstance(source, Image.Image):
        return _of_image(source, source, whites)
    content = source if isinstance(source, bytes) else source.read_bytes()
    if is_array(content):
        return _scaled(_arranged(_read_array(content), channels), whites)
    if is_tiff(content):
        return _scaled(_read_tiff(content), whites)
    return _of_image(content, content, whites)


def _of_image(source: EncodedImage, content: EncodedImage, whites: Whites) -> NDArray[np.uint8]:
    """The channels of an image that Pillow reads: gray, color, and alpha with either."""
    with opened(source) as image:
        check_sides(image.width, image.height)
        with one_if_large(image.width * image.height):
            plain = upright(eight_bits(image, content, whites, by_band=True))
            if plain.mode not in ("L", "LA", "RGB", "RGBA"):
                gray = "L" if plain.mode == "1" else "RGB"
                plain = plain.convert("RGBA" if plain.has_transparency_data else gray)
            values = np.asarray(plain)
    return values[..., None] if values.ndim == 2 else values


def _scaled(values: NDArray[Any], whites: Whites) -> NDArray[np.uint8]:
    check_sides(values.shape[1], values.shape[0])
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "uif":
        raise UndecodableImageError(f"holds values of type {values.dtype}; integers or floats are needed")
    return to_bytes(values, whites, by_band=True)


def _arranged(values: NDArray[Any], channels: int) -> NDArray[Any]:
    """An array with its channels last."""
    shape = values.shape
    if values.ndim == 2:
        return values[..., None]
    if values.ndim != 3 or channels not in (shape[0], shape[2]):
        raise UndecodableImageError(
            f"an array of shape {shape} is no image of {plural_channels(channels)}: (height, width, {channels}) or "
            f"({channels}, height, width)"
        )
    if shape[0] == shape[2]:
        raise UndecodableImageError(
            f"an array of shape {shape} may have its channels first or last. Save it with another height or width"
        )
    return values if shape[2] == channels else np.moveaxis(values, 0, 2)


def _read_array(content: bytes) -> NDArray[Any]:
    """An array of NumPy's own format; objects, which would be pickles, are refused, and no header is believed."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise UndecodableImageError("an array that is damaged, or holds objects and not numbers")
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def _read_tiff(content: bytes) -> NDArray[Any]:
    """The first image of a TIFF (H, W, C); pages or planes are its channels where it has several."""
    try:
        import tifffile
    except ImportError:
        raise _missing("tifffile") from None
    # Not as kinds whose metadata name other files, which would be opened.
    with tifffile.TiffFile(io.BytesIO(content), is_ome=False, is_mmstack=False, is_ndtiff=False) as file:
        series: Any = file.series[0]
        if math.prod(series.shape) > _MOST_VALUES:
            raise UndecodableImageError(f"more than {_MOST_VALUES // 10**6:,} million values; scale it down")
        try:
            with one_if_large(math.prod(series.shape)):
                values = _by_pixel(series.asarray(maxworkers=1), series.axes)
        except ValueError as error:
            if "imagecodecs" in str(error):
                raise _missing("imagecodecs") from None
            raise
        turn = _TURNS.get(int(getattr(series.keyframe.tags.get("Orientation"), "value", 1)))
    return values if turn is None else turn(values)


def _by_pixel(values: NDArray[Any], axes: str) -> NDArray[Any]:
    """Values with the axes Y, X and the one that is left, if there is one.

    Raises:
        UndecodableImageError: More are left.
    """
    kept = [place for place, axis in enumerate(axes) if axis in "YX" or values.shape[place] > 1]
    left = "".join(axes[place] for place in kept)
    values = values.reshape([values.shape[place] for place in kept])
    others = [place for place, axis in enumerate(left) if axis not in "YX"]
    if len(others) > 1 or not {"Y", "X"} <= {*left}:
        raise UndecodableImageError(f"has the axes {left}; height (Y), width (X) and one of channels are needed")
    values = values.transpose([left.index("Y"), left.index("X"), *others])
    return values if others else values[..., None]


def _missing(library: str) -> InvalidInputError:
    what = "TIFF files of several channels" if library == "tifffile" else "A TIFF file is compressed in a way that"
    need = "need" if library == "tifffile" else "needs"
    return InvalidInputError(f"{what} {need} {library}. Install it with: pip install 'frostline[tiff]'")
