"""Archives of class folders: the same dataset as the folder, and what must not be read."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from frostline.objectives.data import archives
from frostline.objectives.data.dataset import prepare_dataset
from frostline.objectives.data.dataset_sources import list_source
from frostline.objectives.data.listing import Listing
from frostline.objectives.data.listing_options import ListingOptions
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

from ...noise import in_splits, write_photos

PREPROCESSING = Preprocessing(16, 16, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
KINDS = ("zip", "stored.zip", "tar", "tgz")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = in_splits({"train": 5, "val": 2, "test": 3}, ("cat", "ünï dog"))
    root = write_photos(tmp_path_factory.mktemp("given") / "photos", counts, size=(18, 20))
    (root / "train/cat/notes.txt").write_text("none")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX/cat.png").touch()
    return root


def packed(root: Path, to: Path) -> Path:
    """An archive, made by Python's own command lines."""
    members = sorted(path.name for path in root.iterdir())
    if to.suffix == ".zip":
        method = zipfile.ZIP_STORED if "stored" in to.name else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(to, "w", method) as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(root))
    else:
        subprocess.run([sys.executable, "-m", "tarfile", "-c", to, *members], cwd=root, check=True)
    return to


def listed(source: Path, downloads: Path, **options: bool | str) -> Listing:
    return list_source(str(source), ListingOptions(**options), download_dir=downloads)  # type: ignore[arg-type]


def fault_of(source: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        listed(source, source.parent / "downloads")
    return str(caught.value)


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "PNG")
    return content.getvalue()


def zipped(file: Path, *names: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, picture())
    return file


def tarred(file: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_and_its_archive_are_one_dataset(photos: Path, tmp_path: Path, kind: str) -> None:
    file = packed(photos, tmp_path / f"photos.{kind}")
    own, folder = listed(file, tmp_path / "downloads"), listed(photos, tmp_path)
    assert own.name == file.name.partition("." + kind.rpartition("stored.")[2])[0]
    assert (own.classes, own.notes) == (folder.classes, folder.notes)
    assert [(each.name, each.label, each.split) for each in own.items] == [
        (each.name, each.label, each.split) for each in folder.items
    ]
    assert [each.read() for each in own.items] == [each.read() for each in folder.items]
    # Nothing of the archive is left on the disk.
    assert not [*(tmp_path / "downloads").glob("*")]
    made = [prepare_dataset(str(each), PREPROCESSING, cache_dir=tmp_path / "cache", seed=0) for each in (file, photos)]
    assert made[0].split_fingerprint == made[1].split_fingerprint


def test_archives_take_the_options_of_folders(tmp_path: Path) -> None:
    names = [f"{name}/{number}.png" for name in ("pets/cat", "pets/dog", "wild/ape", "wild/elk") for number in range(3)]
    file = zipped(tmp_path / "x.zip", *names)
    assert listed(file, tmp_path).classes == ("pets", "wild")
    own = listed(file, tmp_path, nested_classes=True, group_regex=r"(\d)\.png")
    assert own.classes == ("pets/cat", "pets/dog", "wild/ape", "wild/elk")
    assert set(own.groups or ()) == {"0", "1", "2"}
    windows = zipped(tmp_path / "w.zip", *(name.replace("/", "\\") for name in names))
    assert [item.name for item in listed(windows, tmp_path).items] == sorted(names)


@pytest.mark.parametrize("wrapper", ["x/", "pets/", "a/b c/"])
def test_the_folder_that_was_packed_may_be_in_the_archive(tmp_path: Path, wrapper: str) -> None:
    """As most programs pack a folder; its name says nothing."""
    for inner in ("", "train/"):
        names = [f"{inner}{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]
        own = listed(zipped(tmp_path / "x.zip", *(f"{wrapper}{name}" for name in names)), tmp_path)
        assert [item.name for item in own.items] == names
        assert own.classes == ("cat", "dog")
        assert {item.split for item in own.items} == ({"train"} if inner else {None})
    one = zipped(tmp_path / "one.zip", *(f"cat/{number}.png" for number in range(3)))
    assert "only the class 'cat'" in fault_of(one)


@pytest.mark.parametrize("mark", ["studies.db", "images/hashes/x.json"])
@pytest.mark.parametrize("name", ["frostline-workspace", "runs", "cat/runs"])
@pytest.mark.parametrize("wrapper", ["", "pets/"])
def test_a_workspace_in_an_archive_is_no_class(tmp_path: Path, wrapper: str, name: str, mark: str) -> None:
    names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]
    own = [f"{name}/{file}" for file in (mark, "models/1/example.png", "reports/worst_mistakes.png")]
    listing = listed(zipped(tmp_path / "x.zip", *(f"{wrapper}{each}" for each in names + own)), tmp_path)
    assert listing.classes == ("cat", "dog")
    assert [item.name for item in listing.items] == names
    assert f"not taken as images: 1 workspace {name.split('/')[-1]}" in listing.notes


@pytest.mark.parametrize("name", ["../cat/0.png", "/cat/0.png", "cat/../../0.png", "..\\cat\\0.png"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    assert "leads outside" in fault_of(zipped(tmp_path / "x.zip", "cat/1.png", name))
    if "\\" not in name:
        assert "leads outside" in fault_of(tarred(tmp_path / "x.tar", {"cat/1.png": b"", name: b""}))


def test_links_of_an_archive_are_not_followed(tmp_path: Path) -> None:
    file = tarred(tmp_path / "x.tar", {f"{name}/{number}.png": picture() for name in "ab" for number in range(3)})
    with tarfile.open(file, "a") as archive:
        link = tarfile.TarInfo("a/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(listed(file, tmp_path).items) == 6


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_that_unpack_to_much_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_BYTES", 2**20)
    file, zeros = tmp_path / f"x.{kind}", bytes(2**21)
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("cat/0.png", zeros)
    elif kind == "tar.gz":
        tarred(file, {"cat/0.png": zeros}, "w:gz")
    else:
        # It is as large as what is in it.
        members = {f"{name}/{number}.png": picture() for name in "ab" for number in range(3)}
        assert len(listed(tarred(file, members | {"a/x.png": zeros}), tmp_path).items) == 7
        return
    assert "over 100 times its size" in fault_of(file)


def test_a_header_that_claims_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of a member may be as long as a header says, and is read at once."""
    monkeypatch.setattr(archives, "_MOST_BYTES", 2**20)
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**30
    with gzip.open(tmp_path / "x.tgz", "wb") as stream:
        stream.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**16))
    assert "over 100 times its size" in fault_of(tmp_path / "x.tgz")


def test_an_image_that_is_too_large_or_damaged_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MAX_IMAGE_BYTES", 2**12)
    members = {f"{name}/{number:02d}.png": picture() for name in "ab" for number in range(12)}
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("a/large.png", bytes(2**13))
    content = file.read_bytes()
    # One bit of an image: the check sum of the archive tells.
    place = content.index(picture()) + 40
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    found = prepare_dataset(str(file), PREPROCESSING, cache_dir=tmp_path / "cache", seed=0)
    assert found.skipped["a/large.png"] == "larger than 0 MiB"
    assert "CRC" in found.skipped["a/00.png"]
    assert len(found.skipped) == 2


def test_damage_is_named(photos: Path, tmp_path: Path) -> None:
    for kind in ("zip", "tar.gz", "tar"):
        file = packed(photos, tmp_path / f"photos.{kind}")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if kind != "tar" else b"x" * 2000)
        assert "is not a whole archive" in fault_of(file)
    assert "Did you mean" in fault_of(tmp_path / "fotos.zip")
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as archive:
        archive.writestr("cat/0.png", b"x")
    content = bytearray((tmp_path / "secret.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    (tmp_path / "secret.zip").write_bytes(content)
    assert "is encrypted" in fault_of(tmp_path / "secret.zip")
    assert "holds images but no class folders" in fault_of(zipped(tmp_path / "flat.zip", "0.png", "1.png"))
