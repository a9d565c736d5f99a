"""What a listing passes over, and that it says so; names that cannot be printed."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .test_dataset_sources import class_folders, faults_of, fill, listed

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def write(file: Path, kind: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        Image.fromarray(PIXELS).save(stream, kind)


def names(root: Path, tmp_path: Path) -> list[str]:
    return [item.name for item in listed(root, tmp_path).items]


@pytest.mark.parametrize("mark", ["studies.db", "images/hashes/x.json"])
@pytest.mark.parametrize("name", ["frostline-workspace", "runs", "cat/runs"])
def test_a_workspace_is_no_class(tmp_path: Path, name: str, mark: str) -> None:
    class_folders(tmp_path / "pets")
    before = names(tmp_path / "pets", tmp_path)
    fill(tmp_path / "pets" / name, mark, "models/1/example.png", "outgoing/a.png")
    listing = listed(tmp_path / "pets", tmp_path)
    assert listing.classes == ("cat", "dog")
    assert [item.name for item in listing.items] == before
    assert listing.notes == (f"not taken as images: 1 workspace {name.split('/')[-1]}",)


def test_folders_of_programs_are_no_classes_and_hold_no_images(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets")
    before = names(tmp_path / "pets", tmp_path)
    fill(tmp_path / "pets", *(f"{folder}/a.jpg" for folder in ("@eaDir", "__MACOSX", ".thumbnails", "cat/@eaDir")))
    listing = listed(tmp_path / "pets", tmp_path)
    assert [item.name for item in listing.items] == before
    assert listing.notes == ("not taken as images: 2 folders @eaDir, 1 folder .thumbnails, 1 folder __MACOSX",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("name", ["plain", "IMG_0001", "x.jpg_large", "y.001", "z.txt"])
def test_images_are_known_by_their_first_bytes(tmp_path: Path, kind: str, name: str) -> None:
    class_folders(tmp_path / "pets")
    write(tmp_path / "pets/cat" / name, kind)
    listing = listed(tmp_path / "pets", tmp_path)
    assert f"cat/{name}" in [item.name for item in listing.items]
    assert listing.notes == ()


@pytest.mark.parametrize("suffix", [".jp2", ".j2k", ".JP2"])
def test_jpeg_2000_is_an_image_by_its_name(tmp_path: Path, suffix: str) -> None:
    class_folders(tmp_path / "pets")
    fill(tmp_path / "pets", f"cat/x{suffix}")
    assert f"cat/x{suffix}" in names(tmp_path / "pets", tmp_path)


def test_what_is_not_taken_is_counted_by_kind(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    class_folders(root)
    fill(root, "cat/a.txt", "dog/b.TXT", "labels.csv", "LICENSE", "cat/film.mp4", "5.jpg", "6.jpg", "dog/c.txt.orig")
    write(root / "cat/raw.NEF", "TIFF")
    write(root / "cat/backup.bak", "JPEG")
    listing = listed(root, tmp_path)
    assert len(listing.items) == 6
    assert listing.notes == (
        "not taken as images: 2 .txt files, 2 images beside the class folders, 1 .bak file, 1 .csv file, 1 .mp4 file, "
        "1 .nef file, 1 .orig file, 1 file without a suffix",
    )


def test_images_beside_the_classes_of_a_split_are_counted(tmp_path: Path) -> None:
    for split in ("train", "test"):
        class_folders(tmp_path / "pets" / split)
    fill(tmp_path / "pets", "train/1.jpg", "2.png", "test/.DS_Store")
    assert listed(tmp_path / "pets", tmp_path).notes == ("not taken as images: 2 images beside the class folders",)


# Names


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"tab\there", "line\u2028separator".encode()])
def test_a_class_whose_name_cannot_be_printed_is_refused(tmp_path: Path, name: bytes) -> None:
    class_folders(tmp_path / "pets")
    fill(tmp_path / "pets" / os.fsdecode(name), "1.jpg", "2.jpg", "3.jpg")
    (fault,) = faults_of(tmp_path / "pets", tmp_path)
    assert fault.isprintable()
    fault.encode()
    assert "has a line break, a control character or bytes that are no UTF-8 in its name. Rename it." in fault


def test_a_folder_whose_path_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    class_folders(root)
    (fault,) = faults_of(root, tmp_path)
    assert "caf\\xe9 has a line break" in fault


def test_files_whose_names_cannot_be_printed_are_taken_under_a_name_that_can(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets")
    fill(tmp_path / "pets/cat", os.fsdecode(b"caf\xe9.jpg"), "two\nlines.jpg")
    taken = {item.name: item.content for item in listed(tmp_path / "pets", tmp_path).items}
    assert {"cat/caf\\xe9.jpg", "cat/two\\nlines.jpg"} <= taken.keys()
    assert all(isinstance(content, Path) and content.exists() for content in taken.values())


def test_names_that_differ_in_unicode_form_alone_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    class_folders(tmp_path / "pets/train", (composed, "dog"))
    class_folders(tmp_path / "pets/test", (decomposed, "dog"))
    listing = listed(tmp_path / "pets", tmp_path)
    assert listing.classes == (composed, "dog")
    assert [item.label for item in listing.items].count(0) == 6


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets", (*(unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")), "dog"))
    (fault,) = faults_of(tmp_path / "pets", tmp_path)
    assert "has 2 folders 'caf\u00e9', whose names differ in their Unicode form alone. Move their images" in fault
    class_folders(tmp_path / "zoo", ("Cat", "cat", "dog"))
    (fault,) = faults_of(tmp_path / "zoo", tmp_path)
    assert "has Cat/ and cat/, whose names differ in case alone" in fault
    class_folders(tmp_path / "letters", ("A", "a"))
    assert listed(tmp_path / "letters", tmp_path).classes == ("A", "a")
