import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms._presets import ImageClassification

from frostline.objectives.data.decoding import UndecodableImageError, decode_image, quiet_decoding, to_canvas
from frostline.objectives.preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(source: bytes | np.ndarray | Image.Image | Path) -> np.ndarray:
    image = decode_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(
    ("height", "width"),
    [(73, 73), (73, 74), (75, 73), (100, 137), (137, 100), (101, 64), (31, 47), (300, 41), (224, 225), (16, 1000)],
)
@pytest.mark.parametrize(("crop", "resize"), [(64, 73), (64, 74), (63, 73), (65, 72), (32, 32), (33, 33), (64, 65)])
def test_the_center_of_the_canvas_is_what_the_weights_transform_gives(
    height: int, width: int, crop: int, resize: int, interpolation: str
) -> None:
    image = Image.fromarray(pixels(height, width))
    preprocessing = Preprocessing(crop, resize, interpolation, MEAN, STD)
    transform = ImageClassification(
        crop_size=crop, resize_size=resize, mean=MEAN, std=STD, interpolation=InterpolationMode(interpolation)
    )
    canvas = to_canvas(image, preprocessing)
    assert canvas.shape == (resize, resize, 3)
    assert canvas.dtype == np.uint8
    center = F.center_crop(torch.from_numpy(canvas.copy()).permute(2, 0, 1), [crop])
    ours = F.normalize(F.convert_image_dtype(center, torch.float), list(MEAN), list(STD))
    assert torch.equal(ours, transform(image))


def test_grayscale_and_bilevel() -> None:
    gray = pixels(20, 30, 1)
    assert np.array_equal(decoded(encoded(Image.fromarray(gray), "PNG")), np.stack([gray] * 3, axis=-1))
    bits = np.arange(64).reshape(8, 8) % 3 == 0
    assert np.array_equal(decoded(encoded(Image.fromarray(bits), "PNG"))[..., 1], bits * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_values_are_scaled_not_cut(kind: str) -> None:
    values = np.array([[0, 128, 129, 257], [32768, 65278, 65407, 65535]], dtype=np.uint16)
    expected = np.round(values / 257)
    assert np.array_equal(decoded(encoded(Image.fromarray(values), kind))[..., 0], expected)


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_floats_are_scaled_by_the_range_that_holds_them(top: int) -> None:
    values = np.array([[0, 0.5, 1.0]], dtype=np.float32) * top
    assert decoded(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [np.nan, -1.0, 1e6])
def test_floats_that_are_no_pixels_are_refused(value: float) -> None:
    with pytest.raises(UndecodableImageError, match="pixel values outside 0 to 65535"):
        decode_image(np.full((4, 4), value, dtype=np.float32))


def test_palette() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF", "BMP"):
        assert decoded(encoded(image, kind)).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_transparency_is_laid_on_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    assert decoded(rgba).tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]]
    gray_alpha = Image.fromarray(rgba).convert("LA")
    assert decoded(encoded(gray_alpha, "PNG"))[0, 1].tolist() == [255, 255, 255]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert decoded(encoded(palette, kind, transparency=0)).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    keyed = Image.new("RGB", (2, 1), (1, 2, 3))
    keyed.putpixel((1, 0), (7, 7, 7))
    assert decoded(encoded(keyed, "PNG", transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [7, 7, 7]]]


def test_cmyk_becomes_the_colors_that_were_printed() -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        red, green, blue = decoded(encoded(inks, kind))[8, 8]
        assert red > 240
        assert max(green, blue) < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    upright = Image.fromarray(np.kron([[0, 80], [160, 255], [40, 200]], np.ones((16, 16))).astype(np.uint8)).convert(
        "RGB"
    )
    stored = {  # what a camera held that way writes
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](np.asarray(upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(decoded(data), np.asarray(upright))


def test_damaged_exif_does_not_spoil_the_pixels() -> None:
    data = encoded(Image.fromarray(pixels(16, 16)), "JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 30)
    with quiet_decoding():
        assert decoded(data).shape == (16, 16, 3)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decoded(data)[0, 0].tolist() == [255, 0, 0]


def test_files_arrays_and_images_agree(tmp_path: Path) -> None:
    array = pixels(12, 17)
    image = Image.fromarray(array)
    image.save(tmp_path / "ünï code.png")
    for source in (array, image, tmp_path / "ünï code.png", encoded(image, "PNG")):
        assert np.array_equal(decoded(source), array)
    gray = pixels(5, 6, 1)
    assert np.array_equal(decoded(gray[..., None]), decoded(gray))


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"hello, this is text", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (b"\xff\xd8\xff\xe0", "not an image"),
        (encoded(Image.fromarray(pixels(64, 64)), "JPEG")[:1200], "truncated"),
        (encoded(Image.fromarray(pixels(64, 64)), "PNG")[:600], "truncated|broken"),
        (png_that_claims(60_000, 60_000), "more than 178 megapixels"),
        (encoded(Image.new("RGB", (1, 101)), "PNG"), "1 x 101 pixels is too narrow"),
    ],
)
def test_unusable_images_give_one_line(data: bytes, reason: str) -> None:
    with quiet_decoding(), pytest.raises(UndecodableImageError, match=reason) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_give_their_reason(tmp_path: Path) -> None:
    with pytest.raises(UndecodableImageError, match="No such file or directory"):
        decode_image(tmp_path / "gone.jpg")
    with pytest.raises(UndecodableImageError, match="Is a directory"):
        decode_image(tmp_path)


def test_random_damage_gives_an_image_or_a_reason() -> None:
    draw = np.random.default_rng(0)
    image = Image.fromarray(pixels(32, 32))
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = np.frombuffer(encoded(image, kind), dtype=np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[draw.integers(0, len(whole), 8)] = draw.integers(0, 256, 8)
            try:
                with quiet_decoding():
                    assert decode_image(damaged.tobytes()).mode == "RGB"
            except UndecodableImageError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017


def test_quiet_decoding_leaves_other_warnings_alone() -> None:
    with quiet_decoding(), pytest.warns(UserWarning, match="elsewhere"):
        warnings.warn("elsewhere", UserWarning, stacklevel=1)
