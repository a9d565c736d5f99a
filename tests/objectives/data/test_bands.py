"""Images of other than 3 channels hold what tifffile, NumPy and Pillow read from the same files."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import v2

from frostline.objectives.data import decode_image, to_canvas
from frostline.objectives.data.bands import bands_canvas, decode_bands, decode_canvas
from frostline.objectives.data.channel_counts import TIFF_LIBRARIES, tiff_layout
from frostline.objectives.data.dataset import ImageDataset, prepare_dataset
from frostline.objectives.data.decoding import UndecodableImageError
from frostline.objectives.data.gallery import visible
from frostline.objectives.data.listing_options import ListingOptions
from frostline.objectives.data.pixel_scale import PixelScale, ScaleFinder
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")

COLOR = Preprocessing(24, 28, "bilinear", IMAGENET_MEAN, IMAGENET_STD)


def noise(*shape: int, dtype: Any = np.uint8, high: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def tiff(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **{"photometric": "minisblack", **options})
    return stream.getvalue()


def saved(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


PLANES = noise(5, 40, 60)
WIDE = noise(5, 40, 60, dtype=np.uint16, high=4000)


@pytest.mark.parametrize(
    "content",
    [
        tiff(PLANES, planarconfig="separate"),
        tiff(np.moveaxis(PLANES, 0, 2), planarconfig="contig"),
        tiff(PLANES, metadata=None),
        tiff(PLANES, planarconfig="separate", compression="zlib", predictor=True),
        tiff(PLANES, planarconfig="separate", tile=(16, 16), bigtiff=True),
        tiff(PLANES, planarconfig="separate", byteorder=">"),
        tiff(PLANES, imagej=True, metadata={"axes": "CYX"}),
        tiff(PLANES, ome=True, metadata={"axes": "CYX"}),
        tiff(PLANES[None, :, None], metadata={"axes": "TCZYX"}, ome=True),
        saved(PLANES),
        saved(np.moveaxis(PLANES, 0, 2)),
        saved(np.asfortranarray(PLANES)),
    ],
)
def test_every_layout_gives_the_same_pixels(content: bytes) -> None:
    assert np.array_equal(decode_bands(content, 5), np.moveaxis(PLANES, 0, 2))


def test_an_array_and_a_file_are_sources_too(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(saved(PLANES))
    assert np.array_equal(decode_bands(PLANES, 5), decode_bands(tmp_path / "x.npy", 5))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGBA", 4)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_other_images_have_their_own_channels(mode: str, channels: int, kind: str) -> None:
    """Alpha is a channel, and nothing is composited on white."""
    values = noise(30, 20, channels)
    image = Image.fromarray(values[..., 0] if channels == 1 else values, mode)
    assert np.array_equal(decode_bands(encoded(image, kind), channels), values)
    assert np.array_equal(decode_bands(image, channels), values)


def test_color_of_16_bits_with_alpha_keeps_its_low_bytes() -> None:
    """A PNG is written by hand: Pillow writes no color of 16 bits."""
    values = noise(6, 9, 4, dtype=np.uint16, high=1000)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 9, 6, 16, 6, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    finder = ScaleFinder()
    expected = np.round(values * (255 / 1023)).astype(np.uint8)
    assert np.array_equal(decode_bands(content, 4, finder), expected)
    assert finder.found() == PixelScale(integers=(1023,) * 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_as_pillow_turns_it(orientation: int) -> None:
    image = Image.fromarray(noise(20, 30, 4), "RGBA")
    tags = Image.Exif()
    tags[0x0112] = orientation
    content = encoded(image, "TIFF", exif=tags)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert np.array_equal(decode_bands(content, 4), expected)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("shape", [(40, 60), (61, 33), (10, 12), (28, 28)])
def test_the_canvas_of_each_channel_is_that_of_color(shape: tuple[int, int], crop_mode: str) -> None:
    """Of the same numbers, channels 1 to 3 and 4 to 6 are what the way of color makes of them."""
    color = Preprocessing(24, 28, "bicubic", IMAGENET_MEAN, IMAGENET_STD, crop_mode)
    image = noise(*shape, 3)
    expected = to_canvas(Image.fromarray(image), color)
    own = bands_canvas(np.concatenate([image, image, image[..., :1]], axis=2), color.of_channels(7))
    assert own.shape == (28, 28, 7)
    assert np.array_equal(own[..., :3], expected)
    assert np.array_equal(own[..., 3:6], expected)
    assert np.array_equal(own[..., 6], expected[..., 0])


def test_the_center_is_that_of_torchvision() -> None:
    bands = noise(40, 61, 5)
    canvas, size = decode_canvas(saved(bands), COLOR.of_channels(5))
    steps = v2.Compose([v2.Resize(28), v2.CenterCrop(24)])
    expected = np.stack([np.asarray(steps(Image.fromarray(bands[..., band]))) for band in range(5)], axis=2)
    assert size == (61, 40)
    assert np.array_equal(canvas[2:26, 2:26], expected)


def test_color_is_decoded_as_ever() -> None:
    content = encoded(Image.fromarray(noise(40, 50, 3)), "PNG")
    canvas, size = decode_canvas(content, COLOR)
    assert np.array_equal(canvas, to_canvas(decode_image(content), COLOR))
    assert size == (50, 40)


def test_channels_that_differ_in_range_have_a_scale_each() -> None:
    bright = (WIDE.astype(np.float64) * np.array([0.2, 1, 4, 16, 0.06])[:, None, None]).astype(np.uint16)
    finder = ScaleFinder()
    bands = decode_bands(tiff(bright), 5, finder)
    whites = (1023, 4095, 16383, 65535, 255)
    assert finder.found() == PixelScale(integers=whites)
    expected = np.round(bright * (255 / np.array(whites)[:, None, None])).astype(np.uint8)
    assert np.array_equal(bands, np.moveaxis(expected, 0, 2))
    kept = PixelScale.of({"integers": list(whites)})
    assert kept == finder.found()
    assert np.array_equal(decode_bands(tiff(bright), 5, kept), bands)
    assert "of integers, 1023, 4095, 16383, 65535, 255 become white, channel by channel" in kept.sentence()
    assert "of integers, 255 becomes white" in PixelScale(integers=(255, 255)).sentence()


def test_floats_have_a_scale_too() -> None:
    values = np.stack([np.full((8, 9), 0.5), np.full((8, 9), 1.5)]).astype(np.float32)
    finder = ScaleFinder()
    assert decode_bands(tiff(values), 2, finder)[0, 0].tolist() == [128, 191]
    assert finder.found() == PixelScale(floats=(1, 2))


@pytest.mark.parametrize(
    ("content", "channels", "words"),
    [
        (tiff(PLANES[:4]), 13, "has 4 channels, not 13: take it out, or search with --channels 4"),
        (
            encoded(Image.fromarray(noise(9, 9, 3)), "JPEG"),
            5,
            "has 3 channels, not 5: take it out, or search without --channels",
        ),
        (encoded(Image.new("CMYK", (9, 9)), "JPEG"), 4, "has 3 channels"),
        (saved(noise(5, 40, 5)), 5, r"shape \(5, 40, 5\) may have its channels first or last"),
        (saved(noise(9, 40, 7)), 5, r"shape \(9, 40, 7\) is no image of 5 channels"),
        (saved(noise(2, 5, 40, 40)), 5, "is no image of 5 channels"),
        (saved(np.zeros(9)), 5, "is no image of 5 channels"),
        (saved(np.zeros((5, 9, 9), bool)), 5, "values of type bool"),
        (saved(np.zeros((5, 9, 9), complex)), 5, "values of type complex128"),
        (saved(np.full((5, 9, 9), -1.0)), 5, "pixel values outside 0 to 65535"),
        (saved(np.full((5, 9, 9), np.nan)), 5, "pixel values outside 0 to 65535"),
        (saved(np.full((5, 9, 9), None)), 5, "damaged, or holds objects"),
        (saved(PLANES)[:-1], 5, "damaged, or holds objects"),
        # Its header claims 12 GB.
        (saved(PLANES).replace(b"(5, 40, 60), }      ", b"(5, 40, 60000000), }"), 5, "damaged, or holds objects"),
        (tiff(PLANES)[:300], 5, "."),
        (tiff(noise(5, 3, 500)), 5, "500 x 3 pixels is too narrow"),
        (tiff(noise(2, 5, 20, 20), metadata={"axes": "ZCYX"}, imagej=True), 5, "has the axes ZCYX; height"),
        (tiff(noise(2, 5, 20, 20), metadata={"axes": "ZCYX"}, ome=True), 5, "has 10 channels"),
        (b"II*\0", 5, "."),
        (b"\x93NUMPY", 5, "."),
        (b"words", 5, "not an image of a known format"),
    ],
)
def test_what_is_no_image_of_so_many_channels_is_refused(content: bytes, channels: int, words: str) -> None:
    with pytest.raises(UndecodableImageError, match=words):
        decode_bands(content, channels)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(PLANES, planarconfig="separate"), "has 5 channels: type --channels 5 to use them"),
        (tiff(noise(20, 20, 4, dtype=np.float32), planarconfig="contig"), "has 4 channels: type --channels 4"),
        (tiff(WIDE, planarconfig="separate", bigtiff=True), "has 5 channels: type --channels 5"),
        (saved(PLANES), "an array of NumPy, .* type --channels N"),
    ],
)
def test_without_the_option_the_message_names_it(content: bytes, words: str) -> None:
    with pytest.raises(UndecodableImageError, match=words):
        decode_image(content)


@pytest.mark.parametrize("library", ["tifffile", "imagecodecs"])
def test_a_compression_that_needs_a_library_names_it(library: str) -> None:
    content = encoded(Image.fromarray(noise(20, 20, 4), "RGBA"), "TIFF", compression="tiff_lzw")
    # tifffile is imported anew, where one of the libraries is missing.
    anew = {name: module for name, module in sys.modules.items() if name.split(".")[0] not in TIFF_LIBRARIES}
    with (
        mock.patch.dict(sys.modules, {**anew, library: None}, clear=True),
        pytest.raises(InvalidInputError) as refused,
    ):
        decode_bands(content, 4)
    # Not that the image is damaged: the next one needs it too.
    assert not isinstance(refused.value, UndecodableImageError)
    assert library in str(refused.value)
    assert "pip install 'frostline[tiff]'" in str(refused.value)


def test_a_compressed_file_is_read_with_the_library() -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    values = noise(20, 20, 4)
    content = encoded(Image.fromarray(values, "RGBA"), "TIFF", compression="tiff_lzw")
    assert np.array_equal(decode_bands(content, 4), values)


def write(folder: Path, save: Callable[[Path, np.ndarray], object], suffix: str, count: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for name in ("field", "forest"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            planes = rng.integers(0, 900 if number else 5000, (5, 30, 33)).astype(np.uint16)
            save(folder / name / f"{number}{suffix}", planes)
    return folder


def prepared(folder: Path, cache: Path, channels: int = 5) -> ImageDataset:
    options = ListingOptions(channels=channels)
    return prepare_dataset(str(folder), COLOR.of_channels(channels), cache_dir=cache, seed=0, options=options)


def test_a_folder_has_one_scale_and_its_files_in_any_form_are_one_set_of_images(tmp_path: Path) -> None:
    tiffs = write(tmp_path / "tiffs", lambda file, planes: tifffile.imwrite(file, planes), ".tif")
    arrays = write(tmp_path / "arrays", np.save, ".npy")
    one, other = prepared(tiffs, tmp_path / "a"), prepared(arrays, tmp_path / "b")
    assert one.scale == other.scale == PixelScale(integers=(16383,) * 5)
    first, second = (dataset.search_splits()[0].images(slice(None)) for dataset in (one, other))
    assert first.shape[1:] == (5, 28, 28)
    assert first.equal(second)
    # All are scaled by the brightest, not each by its own.
    values = tifffile.imread(tiffs / "field" / "1.tif")
    whole = one.audited()
    row = [image.name for image in whole.found].index("field/1.tif")
    scaled = np.moveaxis(np.round(values * (255 / 16383)).astype(np.uint8), 0, 2)
    expected = bands_canvas(scaled, COLOR.of_channels(5))
    assert np.array_equal(whole.whole.canvas[row], expected)


def test_arrays_are_no_images_of_color(tmp_path: Path) -> None:
    arrays = write(tmp_path / "arrays", np.save, ".npy")
    with pytest.raises(InvalidInputError, match=r"holds no images\. .*add --channels N"):
        prepared(arrays, tmp_path / "a", channels=3)


def test_a_few_files_of_another_number_are_left_out_by_name(tmp_path: Path) -> None:
    tiffs = write(tmp_path / "tiffs", lambda file, planes: tifffile.imwrite(file, planes), ".tif", count=12)
    tifffile.imwrite(tiffs / "field" / "3.tif", noise(4, 30, 33), photometric="minisblack")
    dataset = prepared(tiffs, tmp_path / "a")
    assert list(dataset.skipped) == ["field/3.tif"]
    assert "has 4 channels, not 5: " in dataset.skipped["field/3.tif"]
    with pytest.raises(InvalidInputError) as refused:
        prepared(tiffs, tmp_path / "b", channels=6)
    assert "24 of 24 images of tiffs do not decode" in str(refused.value)
    assert "field/0.tif: has 5 channels, not 6: take it out, or search with --channels 5" in str(refused.value)


def test_a_fourth_channel_that_is_taken_for_transparency_is_told(tmp_path: Path) -> None:
    def save(file: Path, planes: np.ndarray) -> None:
        tifffile.imwrite(file, (np.moveaxis(planes[:4], 0, 2) // 256).astype(np.uint8), photometric="rgb")

    folder = write(tmp_path / "tiffs", save, ".tif")
    (note,) = prepared(folder, tmp_path / "a", channels=3).notes
    assert note.startswith("field/0.tif has 4 channels and is taken as color with transparency.")
    assert note.endswith("--channels 4")
    assert prepared(folder, tmp_path / "a", channels=4).notes == ()


def test_people_see_the_first_three_channels() -> None:
    image = noise(4, 4, 5)
    assert np.array_equal(visible(image), image[..., :3])
    assert np.array_equal(visible(image[..., :1]), image[..., [0, 0, 0]])
    assert np.array_equal(visible(image[..., :2]), image[..., [0, 1, 1]])


def test_pages_of_which_only_the_first_is_taken_are_told(tmp_path: Path) -> None:
    def save(file: Path, planes: np.ndarray) -> None:
        tifffile.imwrite(file, (planes // 256).astype(np.uint8), photometric="minisblack")

    folder = write(tmp_path / "stacks", save, ".tif")
    (note,) = prepared(folder, tmp_path / "a", channels=3).notes
    assert note.startswith("field/0.tif has 5 pages, of which the first is taken.")
    assert note.endswith("--channels 5")
    assert prepared(folder, tmp_path / "a", channels=5).notes == ()


def test_a_header_that_goes_in_circles_ends() -> None:
    content = bytearray(tiff(PLANES[0]))
    (start,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[start : start + 2])
    content[start + 2 + 12 * entries : start + 6 + 12 * entries] = content[4:8]
    assert tiff_layout(bytes(content)) == (1, 1001)
    assert tiff_layout(tiff(PLANES)) == (1, 5)
    assert tiff_layout(tiff(PLANES, planarconfig="separate", bigtiff=True)) == (5, 1)
    assert tiff_layout(b"II*\0") is None


def test_no_file_that_another_names_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The metadata of OME may say that planes are in other files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.ome.tif").write_bytes(tiff(noise(40, 60), ome=True))
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{channel}" PlaneCount="1">'
        '<UUID FileName="secret.ome.tif">urn:uuid:x</UUID></TiffData>'
        for channel in range(5)
    )
    described = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:y">'
        '<Image ID="Image:0"><Pixels DimensionOrder="XYCZT" ID="Pixels:0" SizeC="5" SizeT="1" SizeX="60" SizeY="40" '
        f'SizeZ="1" Type="uint8"><Channel ID="Channel:0:0"/>{planes}</Pixels></Image></OME>'
    )
    content = tiff(noise(40, 60), description=described, metadata=None)
    with pytest.raises(UndecodableImageError, match="has 1 channel, not 5: "):
        decode_bands(content, 5)
    assert "secret" not in caplog.text
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        assert file.series
    assert "secret" in caplog.text, "tifffile looks for the file by itself"
