"""Image decoding: from a file of a camera, scanner or web page to the pixels that a network sees.

Decoding accepts every color mode and returns upright RGB. A canvas is the square around the center crop that is stored
once per image: evaluation crops its center, training crops anywhere inside.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from ..errors import InvalidInputError
from ..preprocessing import RGB, Preprocessing, plural_channels
from .channel_counts import is_array, tiff_layout
from .listing import Embedded
from .pixel_scale import PixelScale, Whites, to_bytes

# Suffixes of files that are read as images; a file that this Pillow cannot decode is reported, not ignored.
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx"),
    )
)
# Allowed formats: Pillow also opens formats that start other programs (EPS), whatever suffix the file has.
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")

# Raw modes of Pillow that are color of 16 bits a channel, in either byte order or the machine's.
_WIDE = re.compile(r"RGBA?;16[BLN]")
# EXIF's tag.
_ORIENTATION = 0x0112

MAX_ASPECT = 100
# Images with more pixels are decoded one at a time, so that memory does not grow with the number of threads.
_LARGE = 25_000_000
_large_image = threading.Lock()

EncodedImage = Path | Embedded | bytes | np.ndarray | Image.Image


class UndecodableImageError(InvalidInputError):
    """An image cannot be used; the message is the reason, in one line."""


def decode_image(source: EncodedImage, whites: Whites = PixelScale()) -> Image.Image:  # noqa: B008
    """Decode an image into upright 8-bit RGB.

    EXIF orientation is applied, transparency is composited on white, values of more than 8 bits are scaled, and the
    first frame of an animation is taken.

    Args:
        source: A path, a file inside another one, the bytes of a file, an opened image, or an array: uint8 (H, W), (H,
            W, 1), (H, W, 3) or (H, W, 4), or uint16 or float (H, W).
        whites: Which of more than 8-bit values becomes white: the scale of the dataset.

    Raises:
        UndecodableImageError: The source is not an image, is damaged, exceeds Pillow's limit of pixels, or has one side
            more than 100 times as long as the other.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.data import decode_image
        >>> image = decode_image(np.zeros((4, 6), dtype=np.uint8))
        >>> image.mode, image.size
        ('RGB', (6, 4))
    """
    try:
        with opened(source) as image:
            check_sides(image.width, image.height)
            with one_if_large(image.width * image.height):
                return to_rgb(upright(eight_bits(image, source, whites)))
    except (UndecodableImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise almost anything on a damaged file
        unknown = isinstance(error, Image.UnidentifiedImageError)
        raise UndecodableImageError((unknown and _hint(source)) or reason_of(error)) from error


def to_canvas(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Resize an image and cut out the square that holds the evaluation crop at its center.

    The center crop of ``image_size`` from the canvas equals, bit for bit, the crop that the weights' own transform
    takes from the resized image.

    Args:
        image: RGB image.
        preprocessing: Preprocessing of the backbone; its ``canvas_size`` is the side R of the canvas.

    Returns:
        uint8, shape (R, R, 3).

    Example:
        >>> from PIL import Image
        >>> from frostline.objectives.data import to_canvas
        >>> from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
        >>> preprocessing = Preprocessing(28, 32, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
        >>> to_canvas(Image.new("RGB", (64, 48)), preprocessing).shape
        (32, 32, 3)
    """
    side, crop = preprocessing.canvas_size, preprocessing.image_size
    # Typed for tensors; it also takes PIL images, as in the weights' own transforms.
    aim = _resized(image.height, image.width, preprocessing)
    resized: Any = resize(cast(Any, image), aim, InterpolationMode(preprocessing.interpolation))
    top, left = (_window_start(length, side, crop) for length in (resized.height, resized.width))
    canvas = Image.new("RGB", (side, side), preprocessing.fill)
    canvas.paste(resized, (-left, -top))
    return np.asarray(canvas)


def is_image_file(path: Path) -> bool:
    """Whether a file is an image of a format that is read, by its first bytes; its name does not matter."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=_formats()).close()
    except Image.DecompressionBombError:
        return True
    except Exception:  # parsers of headers raise almost anything
        return False
    return True


@contextlib.contextmanager
def quiet_decoding() -> Iterator[None]:
    """Silence Pillow's warnings about odd but readable files. Enter it in one thread only, around all decoding."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def opened(source: EncodedImage) -> Image.Image:
    """An image that is not yet decoded."""
    if isinstance(source, Image.Image):
        return source.copy()
    if isinstance(source, np.ndarray):
        return Image.fromarray(source[..., 0] if source.shape[2:] == (1,) else source)
    content = source.read_bytes() if isinstance(source, Embedded) else source
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=_formats())


def check_sides(width: int, height: int) -> None:
    """Refuse an image that is too narrow, with :class:`UndecodableImageError`."""
    short, long = sorted((width, height))
    if long > MAX_ASPECT * short:
        raise UndecodableImageError(f"{width} x {height} pixels is too narrow; at most {MAX_ASPECT}:1")


def one_if_large(values: int) -> contextlib.AbstractContextManager[Any]:
    """Let large images be decoded one at a time."""
    return _large_image if values > _LARGE else contextlib.nullcontext()


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says."""
    image.load()
    # Damaged metadata leaves the pixels usable. In place: copies of large photos take most of the memory.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any color mode to RGB, with transparency on white."""
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def eight_bits(image: Image.Image, source: EncodedImage, whites: Whites, *, by_band: bool = False) -> Image.Image:
    """The image itself, or its values of more than 8 bits as 8 bits, with its orientation; see :func:`to_bytes`."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
    elif (low := _low_bytes(image, source)) is not None:
        values = np.asarray(image).astype(np.uint16) * 256 + low
    else:
        return image
    scaled = Image.fromarray(to_bytes(values, whites, by_band=by_band))
    with contextlib.suppress(Exception):
        scaled.getexif()[_ORIENTATION] = image.getexif()[_ORIENTATION]
    return scaled


def _low_bytes(image: Image.Image, source: EncodedImage) -> np.ndarray | None:
    """The low bytes of a color image of 16 bits a channel, of which Pillow keeps the high bytes; None for others.

    Pillow unpacks them if it takes the file for one of the other byte order.
    """
    tiles: list[Any] = getattr(image, "tile", [])
    if isinstance(source, Image.Image | np.ndarray) or not any(_WIDE.fullmatch(_raw_mode(tile)) for tile in tiles):
        return None
    with opened(source) as again:
        turned: Any = again
        turned.tile = [tile._replace(args=_other_order(tile.args)) for tile in turned.tile]
        return np.asarray(turned)


def _raw_mode(tile: Any) -> str:
    return str(tile.args if isinstance(tile.args, str) else next(iter(tile.args or ()), ""))


def _other_order(args: Any) -> Any:
    if not isinstance(args, str):
        return (_other_order(args[0]), *args[1:])
    own, little = args[-1], sys.byteorder == "little"
    other = {"B": "L", "L": "B", "N": "B" if little else "L"}[own]
    return args[:-1] + other


def _resized(height: int, width: int, preprocessing: Preprocessing) -> list[int]:
    """Height and width after the resize, or the shorter side alone."""
    side = preprocessing.resize_size
    if preprocessing.crop_mode == "center":
        return [side]
    if preprocessing.crop_mode == "squash":
        return [side, side]
    # Divided as in timm, whose rounding this must have.
    ratio = max(height, width) / side
    return [max(1, round(length / ratio)) for length in (height, width)]


def _window_start(length: int, side: int, crop: int) -> int:
    """Start of the canvas, so that both center crops, each rounded and padded as in torchvision, coincide."""
    start = round((length - crop) / 2) if length >= crop else -((crop - length) // 2)
    return start - round((side - crop) / 2)


def _hint(source: EncodedImage) -> str:
    """What to type for a file of many channels, which Pillow does not read; empty for others."""
    if isinstance(source, np.ndarray | Image.Image):
        return ""
    content = source if isinstance(source, bytes) else source.read_bytes()
    if is_array(content):
        return "an array of NumPy, which is an image only of other than 3 channels: type --channels N"
    samples, _ = tiff_layout(content) or (RGB, 1)
    return "" if samples == RGB else f"has {plural_channels(samples)}: type --channels {samples} to use them"


def reason_of(error: Exception) -> str:
    """Why a file does not decode, in one line."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image of a known format (convert HEIC, SVG and camera raw files to JPEG or PNG)"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels; scale it down"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
