"""Data that is refused: places, layouts, names of classes, files."""

from __future__ import annotations

import io
import os
import struct
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .rows import GOOD, Make, Row, data, pictures, text


def encoded(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
        stream, kind, **options
    )
    return stream.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def images(content: bytes, name: str = "x.jpg") -> Make:
    """Photos of which a third have this content."""

    def make(here: Path) -> None:
        for folder in ("cat", "dog"):
            pictures(here / "bad", (folder,))
            for number in range(2):
                (here / "bad" / folder / f"{number}{name}").write_bytes(content)

    return make


def folders(*names: str | bytes) -> Make:
    return lambda here: pictures(here / "bad", tuple(os.fsdecode(name) for name in names))


def arrays(*values: np.ndarray) -> Make:
    def make(here: Path) -> None:
        for folder in ("cat", "dog"):
            pictures(here / "bad", (folder,))
            for number, value in enumerate(values):
                Image.fromarray(value).save(here / "bad" / folder / f"x{number}.tif")

    return make


def bands(channels: int) -> Make:
    """Images of many channels, which Pillow does not read."""

    def make(here: Path) -> None:
        import tifffile

        for folder in ("cat", "dog"):
            (here / "bad" / folder).mkdir(parents=True)
            for number in range(4):
                values = np.random.default_rng(number).integers(0, 256, (channels, 9, 12), dtype=np.uint8)
                file = here / "bad" / folder / f"{number}.tif"
                tifffile.imwrite(file, values, photometric="minisblack", planarconfig="separate")

    return make


def numpy_files(here: Path) -> None:
    for folder in ("cat", "dog"):
        (here / "bad" / folder).mkdir(parents=True)
        np.save(here / "bad" / folder / "0.npy", np.zeros((5, 9, 12), np.uint8))


def loops(here: Path) -> None:
    for name in ("cat", "dog"):
        (here / "bad" / name).mkdir(parents=True)
        (here / "bad" / name / "again").symlink_to(here / "bad" / name)


DATA = {
    "images of 5 channels": data(
        "bad", bands(5), "8 of 8", "cat/0.tif: has 5 channels: type --channels 5", cached=True
    ),
    "images of another number of channels": Row(
        ("search", "bad", *GOOD, "--channels", "13"),
        ("8 of 8", "cat/0.tif: has 5 channels, not 13: take it out, or search with --channels 5"),
        bands(5),
        cached=True,
    ),
    "arrays without a number of channels": data("bad", numpy_files, "holds no images", "add --channels N"),
    "data missing": data("phtos", lambda _: None, "No such folder", "Did you mean photos?"),
    "data empty": data("", lambda _: None, "No dataset is named"),
    "data a file": data("file", text("file"), "is a file"),
    "data a zip file": data("photos.zip", text("photos.zip", b"PK"), "not a whole archive", "Pack the folder again"),
    "data a zip file that is not there": data("phtos.zip", text("photos.zip"), "No such file", "photos.zip?"),
    "data too long": data("x" * 5000, lambda _: None, "No such folder"),
    "archive too long": data("x" * 5000 + ".zip", lambda _: None, "No such file"),
    "table too long": data("x" * 5000 + ".csv", lambda _: None, "No such file"),
    "data of a user who is not there": data("~nobody-here/photos", lambda _: None, "No such folder"),
    "data a URL": data("https://host/photos.zip", lambda _: None, "https", "folder"),
    "data a bucket": data("s3://bucket/photos", lambda _: None, "s3", "folder"),
    "data of an unknown prefix": data("huggingface:beans", lambda _: None, "huggingface", "torchvision"),
    "data of torchvision misspelt": data("torchvision:CIFAR1O", lambda _: None, "CIFAR10"),
    "data of sklearn misspelt": data("sklearn:digit", lambda _: None, "sklearn:digits"),
    "data of one digit": data("sklearn:digits[4]", lambda _: None, "only the class"),
    "data of too few digits": data("sklearn:digits@3", lambda _: None, "@3"),
    "folder empty": data("bad", lambda here: (here / "bad").mkdir(), "holds no images"),
    "folder of empty classes": data("bad", text("bad/cat/x.txt"), "holds no images"),
    "images without classes": data("photos/cat", lambda _: None, "holds images but no class folders"),
    "one class": data("bad", folders("cat"), "only the class 'cat'"),
    "one class with folders": data("bad", lambda here: pictures(here / "bad/cat", ("a", "b")), "bad/cat"),
    "class of one image": data(
        "bad", lambda here: (pictures(here / "bad"), pictures(here / "bad", ("eel",), 1)), "'eel' has 1 usable image"
    ),
    "class of no image": data(
        "bad", lambda here: (pictures(here / "bad"), (here / "bad/eel").mkdir()), "'eel' has 0 usable images"
    ),
    "classes alike but for case": data("bad", folders("cat", "Cat"), "Cat/ and cat/", "case"),
    "classes alike in Unicode": data(
        "bad", folders(*(unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))), "Unicode form"
    ),
    "class of no UTF-8": data("bad", folders("cat", b"caf\xe9"), "caf\\xe9", "Rename it"),
    "class with a line break": data("bad", folders("cat", "d\nog"), "d\\nog", "Rename it"),
    "class with an escape": data("bad", folders("cat", "d\x1b[31mog"), "Rename it"),
    "folder of no UTF-8": data(
        os.fsdecode(b"caf\xe9"), lambda here: pictures(here / os.fsdecode(b"caf\xe9")), "Rename the folder"
    ),
    "links that lead back": data("bad", loops, "holds no images"),
    "splits without train": data(
        "bad", lambda here: [pictures(here / "bad" / each) for each in ("val", "test")], "no train/"
    ),
    "two folders of one split": data(
        "bad", lambda here: [pictures(here / "bad" / each) for each in ("train", "val", "valid")], "both mean val"
    ),
    "splits beside others": data(
        "bad", lambda here: [pictures(here / "bad" / each) for each in ("train", "more")], "more/ beside split folders"
    ),
    "splits of unknown names": data(
        "bad", lambda here: [pictures(here / "bad" / each) for each in ("fold1", "fold2")], "as splits do", "rename"
    ),
    "splits below the classes": data(
        "bad",
        lambda here: [pictures(here / "bad" / each, ("train", "val")) for each in ("cat", "dog")],
        "Put the splits above",
    ),
    "split that lacks a class": data(
        "bad",
        lambda here: (pictures(here / "bad/train"), pictures(here / "bad/test", ("cat",))),
        "'dog' has no folder in",
    ),
    "split without images": data(
        "bad", lambda here: (pictures(here / "bad/train"), (here / "bad/test").mkdir()), "holds no images"
    ),
    "empty files": data("bad", images(b""), "do not decode", "Repair or remove", cached=True),
    "text files": data("bad", images(b"hello"), "not an image", cached=True),
    "truncated JPEGs": data("bad", images(encoded("JPEG")[:400]), "cat/0x.jpg: Truncated", cached=True),
    "truncated PNGs": data("bad", images(encoded("PNG")[:800], "x.png"), "do not decode", cached=True),
    "pixel bombs": data("bad", images(png_that_claims(60_000, 60_000), "x.png"), "megapixels", cached=True),
    "narrow images": data("bad", arrays(*[np.zeros((1, 200), dtype=np.uint8)] * 2), "too narrow", cached=True),
    "PostScript": data(
        "bad", images(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image", cached=True
    ),
    "HEIC": data("bad", images(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "x.heic"), "HEIC", cached=True),
    "floats of nan": data(
        "bad", arrays(*[np.full((9, 9), np.nan, dtype=np.float32)] * 2), "outside 0 to 65535", cached=True
    ),
    "negative floats": data(
        "bad", arrays(*[np.full((9, 9), -1, dtype=np.float32)] * 2), "outside 0 to 65535", cached=True
    ),
    "broken links": data(
        "bad",
        lambda here: (
            images(b"")(here),
            [(file.unlink(), file.symlink_to("gone")) for file in (here / "bad").rglob("*x.jpg")],
        ),
        "No such file",
        cached=True,
    ),
}
