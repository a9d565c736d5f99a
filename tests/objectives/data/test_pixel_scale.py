"""Images of more than 8 bits: one scale in a dataset, of which the brightness of its images can be told."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.objectives.data import canvas_reader
from frostline.objectives.data.bands import decode_canvas
from frostline.objectives.data.dataset import ImageDataset, prepare_dataset
from frostline.objectives.data.decoding import decode_image
from frostline.objectives.data.pixel_scale import PixelScale
from frostline.objectives.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(16, 18, "nearest", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
COUNT = 6


def planted(folder: Path, means: dict[str, float], dtype: type, spread: float, suffix: str = "tif") -> Path:
    """Images of one gray each, of a class-dependent brightness; their numbers are their names."""
    draw = np.random.default_rng(0)
    for name, mean in means.items():
        (folder / name).mkdir(parents=True)
        for number in range(COUNT):
            value = mean + spread * draw.uniform(-1, 1)
            Image.fromarray(np.full((18, 18), value, dtype=dtype)).save(folder / name / f"{number}.{suffix}")
    return folder


def prepared(folder: Path, tmp_path: Path) -> ImageDataset:
    return prepare_dataset(str(folder), PREPROCESSING, cache_dir=tmp_path / "cache", seed=0)


def brightness(dataset: ImageDataset) -> dict[str, float]:
    """Mean byte of each class over all images."""
    whole = dataset.audited().whole
    pixels = whole.images(slice(None)).float().mean(dim=(1, 2, 3)).numpy()
    return {name: float(pixels[whole.labels == label].mean()) for label, name in enumerate(dataset.classes)}


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535)])
def test_integers_of_few_bits_are_not_black(tmp_path: Path, bits: int, white: int, suffix: str) -> None:
    means = {"bright": 0.8 * white, "dim": 0.2 * white}
    folder = planted(tmp_path / "cells", means, np.uint16, 0.1 * white, suffix)
    dataset = prepared(folder, tmp_path)
    assert dataset.scale == PixelScale(integers=white)
    seen = brightness(dataset)
    assert seen["bright"] == pytest.approx(0.8 * 255, abs=0.1 * 255)
    assert seen["dim"] == pytest.approx(0.2 * 255, abs=0.1 * 255)
    assert dataset.notes == (f"images of more than 8 bits have one scale: of integers, {white} becomes white",)


@pytest.mark.parametrize(("dim", "bright", "white"), [(0.3, 0.9, 1), (0.9, 200, 255), (0.9, 1.6, 2), (200, 3000, 4095)])
def test_a_bright_class_of_floats_is_brighter_than_a_dim_one(
    tmp_path: Path, dim: float, bright: float, white: int
) -> None:
    dataset = prepared(planted(tmp_path / "cells", {"bright": bright, "dim": dim}, np.float32, 0.05 * dim), tmp_path)
    assert dataset.scale == PixelScale(floats=white)
    seen = brightness(dataset)
    assert seen["bright"] == pytest.approx(255 * bright / white, abs=0.06 * 255)
    assert seen["dim"] == pytest.approx(255 * dim / white, abs=0.06 * 255)


def test_eight_bit_images_beside_them_stay_as_they_are(tmp_path: Path) -> None:
    folder = planted(tmp_path / "cells", {"a": 3000}, np.uint16, 0)
    planted(folder, {"b": 100}, np.uint8, 0, "png")
    planted(folder, {"c": 0.5}, np.float32, 0)
    dataset = prepared(folder, tmp_path)
    assert dataset.scale == PixelScale(integers=4095, floats=1)
    assert brightness(dataset) == {"a": round(3000 / 4095 * 255), "b": 100, "c": 128}


def test_a_dataset_of_8_bits_has_no_scale(tmp_path: Path) -> None:
    dataset = prepared(planted(tmp_path / "cells", {"a": 10, "b": 20}, np.uint8, 0, "png"), tmp_path)
    assert (dataset.scale, dataset.notes) == (PixelScale(), ())


def test_the_scale_is_part_of_the_identity_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of images that another version scaled differently are others."""
    folder = planted(tmp_path / "cells", {"a": 3000, "b": 300}, np.uint16, 0)
    one = prepared(folder, tmp_path)

    def alone(content: bytes, preprocessing: Preprocessing, _: object) -> tuple[np.ndarray, tuple[int, int]]:
        return decode_canvas(content, preprocessing)

    monkeypatch.setattr(canvas_reader, "decode_canvas", alone)
    other = prepare_dataset(str(folder), PREPROCESSING, cache_dir=tmp_path / "another", seed=0)
    assert other.scale == PixelScale()
    assert (other.fingerprint == one.fingerprint, other.split_fingerprint == one.split_fingerprint) == (False, False)


def test_the_cache_and_a_second_reading_give_the_same(tmp_path: Path) -> None:
    folder = planted(tmp_path / "cells", {"a": 3000, "b": 300}, np.uint16, 0)
    one = prepared(folder, tmp_path)
    assert prepared(folder, tmp_path) == one
    for images in (tmp_path / "cache").glob("*/images.npy"):
        images.unlink()
    again = prepared(folder, tmp_path)
    assert again == one
    assert brightness(again) == brightness(one)


def test_a_kept_scale_is_applied_to_other_images() -> None:
    values = np.array([[0, 1000, 4095, 9999]], dtype=np.uint16)
    assert np.asarray(decode_image(values, PixelScale(integers=4095)))[0, :, 0].tolist() == [0, 62, 255, 255]
    floats = np.array([[0, 0.25, 3]], dtype=np.float32)
    assert np.asarray(decode_image(floats, PixelScale(floats=1)))[0, :, 0].tolist() == [0, 64, 255]


# Color of 16 bits a channel, of which Pillow keeps the high bytes.


def png(pixels: np.ndarray) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, order: str, *, compressed: bool, orientation: int = 1) -> bytes:
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compressed else data
    tags: list[tuple[int, int]] = [
        (256, width), (257, height), (258, -1), (259, 8 if compressed else 1), (262, 2), (273, -2), (274, orientation),
        (277, channels), (278, height), (279, len(data)), (284, 1),
    ]  # fmt: skip
    end = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 3, channels, end)
        if value == -1
        else struct.pack(f"{order}HHII", tag, 4, 1, end + 2 * channels if value == -2 else value)
        for tag, value in tags
    )
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + struct.pack(f"{order}I{channels}H", 0, *[16] * channels) + data


def colors(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4096, (5, 7, channels)).astype(np.uint16)


@pytest.mark.parametrize(
    "written",
    [
        png(colors()),
        *(tiff(colors(), order, compressed=compressed) for order in "<>" for compressed in (False, True)),
    ],
)
def test_color_of_12_bits_keeps_all_of_them(written: bytes) -> None:
    assert Image.open(io.BytesIO(written)).mode == "RGB"
    taken = np.asarray(decode_image(written, PixelScale(integers=4095)))
    assert np.array_equal(taken, np.round(colors() / 4095 * 255))


def test_color_of_16_bits_is_turned_upright_and_laid_on_white() -> None:
    turned = decode_image(tiff(colors(), "<", compressed=False, orientation=6), PixelScale(integers=4095))
    assert np.array_equal(np.asarray(turned), np.rot90(np.round(colors() / 4095 * 255), -1))
    clear = colors(4)
    clear[..., 3] = 0
    assert (np.asarray(decode_image(png(clear))) == 255).all()


def test_a_dataset_of_12_bit_color(tmp_path: Path) -> None:
    for name, factor in (("bright", 1.0), ("dim", 0.25)):
        (tmp_path / "cells" / name).mkdir(parents=True)
        for number in range(COUNT):
            pixels = np.random.default_rng(number).integers(3000, 4000, (18, 18, 3)) * factor
            (tmp_path / "cells" / name / f"{number}.png").write_bytes(png(pixels.astype(np.uint16)))
    dataset = prepared(tmp_path / "cells", tmp_path)
    assert dataset.scale == PixelScale(integers=4095)
    seen = brightness(dataset)
    assert seen["bright"] == pytest.approx(3500 / 4095 * 255, abs=5)
    assert seen["dim"] == pytest.approx(3500 / 4 / 4095 * 255, abs=5)
