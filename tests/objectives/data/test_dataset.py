import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.objectives.data import canvas_file, canvas_reader
from frostline.objectives.data import digests as digests_module
from frostline.objectives.data import image_cache as module
from frostline.objectives.data.bands import decode_canvas
from frostline.objectives.data.dataset import ImageDataset, prepare_dataset
from frostline.objectives.data.dataset_sources import list_source
from frostline.objectives.data.decoding import decode_image, to_canvas
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.preprocessing import Preprocessing

from .. import tiny

SMALL = Preprocessing(16, 18, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 images of each of two classes, no two alike."""
    return tiny.write_pets(tmp_path / "pets")


@pytest.fixture
def prepare(folder: Path, tmp_path: Path) -> Callable[..., ImageDataset]:
    def call(preprocessing: Preprocessing = SMALL, seed: int = 0, **options: object) -> ImageDataset:
        return prepare_dataset(str(folder), preprocessing, cache_dir=tmp_path / "cache", seed=seed, **options)  # type: ignore[arg-type]

    return call


def decoding_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def counting(*arguments: Any) -> tuple[np.ndarray, tuple[int, int]]:
        calls.append(1)
        return decode_canvas(*arguments)

    monkeypatch.setattr(canvas_reader, "decode_canvas", counting)
    return calls


def caches(tmp_path: Path) -> list[Path]:
    folders = (file.parent for file in (tmp_path / "cache").glob("*/images.npy"))
    return sorted(folder for folder in folders if folder.suffix != ".partial")


def test_splits_hold_each_image_once_with_its_pixels_and_label(
    prepare: Callable[..., ImageDataset], folder: Path
) -> None:
    dataset = prepare()
    train, val = dataset.search_splits()
    splits = (train, val, dataset.open_test())
    files = sorted(folder.rglob("*.png"))
    assert sorted(np.concatenate([split.indices for split in splits]).tolist()) == list(range(len(files)))
    for split in splits:
        for position, row in enumerate(split.indices):
            assert dataset.classes[split.labels[position]] == files[row].parent.name
            expected = to_canvas(decode_image(files[row]), SMALL)
            assert np.array_equal(split.images([position])[0].permute(1, 2, 0).numpy(), expected)
    assert dataset.counts == {
        "train": {"cat": 8, "dog": 8},
        "val": {"cat": 2, "dog": 2},
        "test": {"cat": 2, "dog": 2},
    }


def test_images_come_as_channels_last_bytes_for_any_kind_of_positions(prepare: Callable[..., ImageDataset]) -> None:
    train, _ = prepare().search_splits()
    batch = train.images([3, 1, 1])
    assert batch.shape == (3, 3, 18, 18)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch, train.images(torch.tensor([3, 1, 1])))
    assert torch.equal(train.images(slice(2, 4)), train.images(np.array([2, 3])))
    assert train.images([]).shape == (0, 3, 18, 18)
    batch.zero_()  # a copy: the shared map stays as it is
    assert train.images([3]).any()
    with pytest.raises(ValueError, match="read-only"):
        train.canvas[0] = 0


def test_nothing_but_open_test_shows_the_test_images(prepare: Callable[..., ImageDataset]) -> None:
    dataset = prepare()
    hidden = dataset.open_test().indices
    public = [getattr(dataset, name) for name in dir(dataset) if not name.startswith("_") and name != "open_test"]
    assert not any(isinstance(value, np.ndarray) for value in public)
    assert not any(set(hidden) & set(split.indices) for split in dataset.search_splits())
    assert "array" not in repr(dataset)


def test_decoded_once_for_all_that_ask_again(
    prepare: Callable[..., ImageDataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = decoding_counted(monkeypatch)
    progress: list[tuple[int, int]] = []
    one = prepare(on_progress=lambda done, total: progress.append((done, total)))
    assert progress == [(done, 24) for done in range(1, 25)]
    two = prepare(on_progress=lambda done, total: progress.append((done, total)))
    assert len(calls) == len(progress) == 24
    assert one == two
    prepare(replace(SMALL, mean=(0.0, 0.0, 0.0)))  # statistics are no geometry
    prepare(seed=1)
    assert len(calls) == 24
    prepare(replace(SMALL, image_size=17))
    prepare(replace(SMALL, interpolation="bicubic"))
    assert len(calls) == 72
    assert len(caches(tmp_path)) == 3


def test_a_copy_elsewhere_is_the_same_dataset(
    prepare: Callable[..., ImageDataset], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepare()
    calls = decoding_counted(monkeypatch)
    shutil.copytree(folder, tmp_path / "moved/pets")
    other = prepare_dataset(str(tmp_path / "moved/pets"), SMALL, cache_dir=tmp_path / "cache", seed=0)
    assert other == one
    assert not calls


def test_any_change_of_the_files_is_another_dataset(prepare: Callable[..., ImageDataset], folder: Path) -> None:
    seen = {prepare().fingerprint}
    file = folder / "cat/03.png"
    times = file.stat()
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # same size, same modification time
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    seen.add(prepare().fingerprint)
    file.rename(folder / "cat/renamed.png")
    seen.add(prepare().fingerprint)
    (folder / "cat/renamed.png").rename(folder / "dog/renamed.png")
    seen.add(prepare().fingerprint)
    (folder / "dog/renamed.png").unlink()
    seen.add(prepare().fingerprint)
    (folder / "cat").rename(folder / "lynx")
    seen.add(prepare().fingerprint)
    assert len(seen) == 6


def test_files_that_did_not_change_are_not_hashed_again(
    prepare: Callable[..., ImageDataset], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED_SECONDS", 0)
    fingerprint = prepare().fingerprint
    hashed: list[str] = []
    original = digests_module.file_digest
    monkeypatch.setattr(digests_module, "file_digest", lambda item: hashed.append(item.name) or original(item))
    assert prepare().fingerprint == fingerprint
    assert hashed == []
    (folder / "cat/03.png").touch()
    assert prepare().fingerprint == fingerprint
    assert hashed == ["cat/03.png"]


def test_fresh_files_are_hashed_again_since_they_may_change_within_one_tick(
    prepare: Callable[..., ImageDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests_module, "_SETTLED_SECONDS", 3600)
    prepare()
    hashed: list[str] = []
    original = digests_module.file_digest
    monkeypatch.setattr(digests_module, "file_digest", lambda item: hashed.append(item.name) or original(item))
    prepare()
    assert len(hashed) == 24


def test_each_file_of_a_dataset_never_seen_is_read_once(
    prepare: Callable[..., ImageDataset], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    opened = Path.open

    def counting(file: Path, *options: Any, **named: Any) -> Any:
        if file.suffix == ".png":
            read.append(file)
        return opened(file, *options, **named)

    monkeypatch.setattr(Path, "open", counting)
    prepare()
    assert sorted(read) == sorted(folder.rglob("*.png"))
    # The control: here each is read to hash it, and again to decode it.
    prepare(replace(SMALL, image_size=17))
    assert sorted(read) == sorted([*folder.rglob("*.png")] * 3)


def test_one_read_gives_what_two_give(
    prepare: Callable[..., ImageDataset], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas_reader, "_MAX_FILE_BYTES", 100_000)
    (folder / "cat/broken.png").write_bytes(b"broken")
    with (folder / "dog/03.png").open("ab") as file:
        file.write(bytes(200_000))
    one = prepare()
    assert sorted(one.skipped) == ["cat/broken.png", "dog/03.png"]
    listing = list_source(str(folder), download_dir=tmp_path)
    digests_module.DigestIndex(listing, tmp_path / "hashed/hashes").digests()
    assert prepare_dataset(str(folder), SMALL, cache_dir=tmp_path / "hashed", seed=0) == one
    (cache,) = caches(tmp_path)
    for file in cache.iterdir():
        # It has the times of the array file.
        if file.name != "images.json":
            assert file.read_bytes() == (tmp_path / "hashed" / cache.name / file.name).read_bytes()


def test_splits_stay_as_they_were_first_made(
    prepare: Callable[..., ImageDataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = prepare(seed=5)
    assert one.split_fingerprint != prepare(seed=6).split_fingerprint
    assert one.fingerprint == prepare(seed=6).fingerprint
    monkeypatch.setattr(module, "resolve_splits", lambda *_: pytest.fail("split again"))
    assert prepare(seed=5).split_fingerprint == one.split_fingerprint
    (cache,) = caches(tmp_path)
    assert {file.name for file in cache.iterdir()} == {
        "images.npy",
        "images.json",
        "manifest.json",
        "splits-5.json",
        "splits-6.json",
    }


def test_given_splits_are_kept_whatever_the_seed(folder: Path, tmp_path: Path) -> None:
    for split, numbers in {"train": range(6), "val": range(6, 9), "test": range(9, 12)}.items():
        for number in numbers:
            for name in ("cat", "dog"):
                target = tmp_path / "data" / split / name
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / name / f"{number:02d}.png", target)
    made = [prepare_dataset(str(tmp_path / "data"), SMALL, cache_dir=tmp_path / "cache", seed=seed) for seed in (0, 1)]
    assert made[0] == made[1]
    assert made[0].counts == {split: {"cat": n, "dog": n} for split, n in {"train": 6, "val": 3, "test": 3}.items()}


# Damage


def test_files_that_do_not_decode_are_listed_and_left_out(
    prepare: Callable[..., ImageDataset], folder: Path, tmp_path: Path
) -> None:
    (folder / "cat/empty.jpg").touch()
    (folder / "dog/text.jpg").write_text("not an image")
    dataset = prepare()
    assert sorted(dataset.skipped) == ["cat/empty.jpg", "dog/text.jpg"]
    assert "not an image" in dataset.skipped["dog/text.jpg"]
    train, val = dataset.search_splits()
    assert len(train) + len(val) + len(dataset.open_test()) == 24 == len(train.canvas)
    names = json.loads((caches(tmp_path)[0] / "manifest.json").read_text())["names"]
    assert names == sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))
    assert prepare() == dataset


def test_an_unreadable_file_is_left_out_until_it_can_be_read(
    prepare: Callable[..., ImageDataset], folder: Path, tmp_path: Path
) -> None:
    (folder / "cat/link.png").symlink_to(tmp_path / "later.png")
    assert prepare().skipped == {"cat/link.png": "No such file or directory"}
    shutil.copy(folder / "cat/01.png", tmp_path / "later.png")
    assert prepare().skipped == {}


def test_more_than_a_tenth_is_an_error_that_lists_the_first(
    prepare: Callable[..., ImageDataset], folder: Path, tmp_path: Path
) -> None:
    for number in range(7):
        (folder / f"dog/{number:02d}.png").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="7 of 24 images of pets do not decode") as caught:
        prepare()
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("  dog/00.png: not an image")
    assert caches(tmp_path) == []


def test_class_minimums_hold_after_leaving_out(prepare: Callable[..., ImageDataset], folder: Path) -> None:
    (folder / "eel").mkdir()
    for number in range(3):
        shutil.copy(folder / f"cat/0{number}.png", folder / "eel")
    (folder / "eel/00.png").write_bytes(b"broken")
    with pytest.raises(InvalidInputError) as caught:
        prepare()
    few, skipped = caught.value.faults
    assert few.startswith("Class 'eel' has 2 usable images but needs at least 3")
    assert "1 of 27" in skipped
    assert "eel/00.png: not an image" in skipped


def test_a_file_that_changes_while_it_is_read_is_refused(
    prepare: Callable[..., ImageDataset], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a hashed file is read again to decode it; a dataset that was never seen is read once."""
    prepare()
    monkeypatch.setattr(digests_module, "file_digest", lambda item: "of something else")
    with pytest.raises(InvalidInputError, match=r"cat/0\d.png changed while it was being read"):
        prepare()


@pytest.mark.parametrize(
    "damage", ["torn images", "no images", "zeroed images", "torn manifest", "no manifest", "torn splits", "header"]
)
def test_a_damaged_cache_is_rebuilt(prepare: Callable[..., ImageDataset], tmp_path: Path, damage: str) -> None:
    before = prepare()
    kept = before.open_test().images(slice(None)).clone()
    (cache,) = caches(tmp_path)
    kind, thing = damage.split() if " " in damage else ("header", "images")
    file = cache / {"images": "images.npy", "manifest": "manifest.json", "splits": "splits-0.json"}[thing]
    if kind == "no":
        file.unlink()
    elif kind == "torn":
        file.write_bytes(file.read_bytes()[:-40])
    elif kind == "zeroed":
        file.write_bytes(file.read_bytes()[:-40] + bytes(40))
    else:
        file.write_bytes(b"garbage")
    after = prepare()
    assert after == before
    assert torch.equal(after.open_test().images(slice(None)), kept)


def test_a_copied_cache_is_compared_once_and_not_decoded_again(
    prepare: Callable[..., ImageDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare()
    (cache,) = caches(tmp_path)
    file = cache / "images.npy"
    file.write_bytes(file.read_bytes())
    monkeypatch.setattr(module, "_build", lambda *_: pytest.fail("decoded again"))
    assert prepare() == before
    monkeypatch.setattr(canvas_file.zlib, "crc32", lambda *_: pytest.fail("compared again"))
    assert prepare() == before


def test_a_cache_that_cannot_be_written_says_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(InvalidInputError, match=r"Cannot store decoded images in .*occupied"):
        prepare_dataset(str(folder), SMALL, cache_dir=tmp_path / "occupied", seed=0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(canvas_file, "_write_header", full)
    with pytest.raises(InvalidInputError, match=r"No space left on device\. Free space there"):
        prepare_dataset(str(folder), SMALL, cache_dir=tmp_path / "cache", seed=0)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_bad_input_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        prepare_dataset(str(tmp_path / "gone"), SMALL, cache_dir=tmp_path / "cache", seed=0)
    assert not (tmp_path / "cache").exists()


# Several processes

PREPARE = """
import sys
from pathlib import Path
from frostline.objectives.data import canvas_reader as module
from frostline.objectives.data.dataset import prepare_dataset
from frostline.objectives.preprocessing import Preprocessing

_, source, cache, delay = sys.argv
decode = module.decode_canvas

def slow(*arguments):
    import time
    time.sleep(float(delay))
    with open(cache + ".log", "a") as log:
        log.write("x")
    return decode(*arguments)

module.decode_canvas = slow
preprocessing = Preprocessing(16, 18, "bilinear", (0.5,) * 3, (0.2,) * 3)
dataset = prepare_dataset(source, preprocessing, cache_dir=Path(cache), seed=0)
print(dataset.split_fingerprint)
"""


def start(folder: Path, tmp_path: Path, delay: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREPARE, str(folder), str(tmp_path / "cache"), str(delay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_at_once_decode_once_and_a_killed_one_leaves_nothing_in_the_way(
    folder: Path, tmp_path: Path, prepare: Callable[..., ImageDataset]
) -> None:
    log = tmp_path / "cache.log"
    victim = start(folder, tmp_path, 0.2)
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert caches(tmp_path) == []
    assert len(list((tmp_path / "cache").glob("*.partial"))) == 1
    log.write_text("")
    workers = [start(folder, tmp_path, 0.02) for _ in range(2)]
    outputs = [worker.communicate()[0].strip() for worker in workers]
    assert outputs == [prepare().split_fingerprint] * 2
    assert len(log.read_text()) == 24
    assert not list((tmp_path / "cache").glob("*.partial"))


# Real data


def test_real_photos(tmp_path: Path) -> None:
    root = Path(os.environ.get("FROSTLINE_TEST_DATA", Path(__file__).parents[4] / "shared"))
    source = root / "data/garments_small"
    if not source.is_dir():
        pytest.skip("no real data: set FROSTLINE_TEST_DATA to the folder that holds data/garments_small")
    dataset = prepare_dataset(str(source), replace(SMALL, image_size=64, resize_size=73), cache_dir=tmp_path, seed=0)
    assert dataset.classes == ("blazer", "hoodie", "polo", "undershirt")
    assert dataset.skipped == {}
    assert dataset.counts["test"] == dict.fromkeys(dataset.classes, 30)
    assert sum(dataset.counts["train"].values()) + sum(dataset.counts["val"].values()) == 280
    train, _ = dataset.search_splits()
    assert train.images(slice(None)).float().std() > 20
