"""Faults of what a study was made from: images and weights that change, vanish or are damaged while it runs."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.disk_faults import MIDST
from benchmarks.fault_scene import Scene

Change = Callable[[Path], None]
# Made by code in a file of weights.
_MARKER = "code was run"


def write_photos(folder: Path) -> Path:
    """Small class folders, train and test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 8)):
        for label in range(3):
            for place in range(count):
                file = folder / split / f"class{label}" / f"{place}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 120, (32, 32, 3)) + 60 * label
                Image.fromarray(pixels.astype(np.uint8)).save(file)
    return folder


def images(change: Change, *, running: bool = False, name: str = "photos") -> Callable[[Scene], None]:
    """The dataset changes while the study is stopped, or while it runs; then it is as before."""

    def scenario(scene: Scene) -> None:
        photos = write_photos(scene.folder / name)
        scene.data = str(photos)
        _change(scene, photos, change, running)

    return scenario


def weights(change: Change, *, running: bool = False) -> Callable[[Scene], None]:
    """The weights change while the study is stopped, or while it runs; then they are as before."""

    def scenario(scene: Scene) -> None:
        file = write_weights(scene.folder / "weights" / "tiny.safetensors")
        scene.weights = str(file)
        _change(scene, file, change, running)
        assert not file.with_name(_MARKER).exists(), "code in a file of weights was run"

    return scenario


def write_weights(file: Path) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/backbones"))
    from tiny_network import create  # pyright: ignore[reportMissingImports]

    file.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_file(create().state_dict(), file)
    return file


def _change(scene: Scene, place: Path, change: Change, running: bool) -> None:
    kept = scene.folder / "kept"
    (shutil.copytree if place.is_dir() else shutil.copy)(place, kept)
    if running:
        scene.search(at={MIDST: lambda: change(place)})
    else:
        scene.search(at={MIDST: lambda: os.kill(os.getpid(), signal.SIGKILL)})
        change(place)
        scene.resume()
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    (shutil.copytree if kept.is_dir() else shutil.copy)(kept, place)


def first(photos: Path) -> Path:
    return photos / "train" / "class0" / "0.png"


def repaint(photos: Path) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(first(photos))


def truncate(photos: Path) -> None:
    first(photos).write_bytes(first(photos).read_bytes()[:60])


def delete_one(photos: Path) -> None:
    first(photos).unlink()


def add_one(photos: Path) -> None:
    shutil.copy(photos / "train" / "class1" / "0.png", photos / "train" / "class0" / "new.png")


def rename_class(photos: Path) -> None:
    (photos / "train" / "class0").rename(photos / "train" / "other")


def delete_all(place: Path) -> None:
    shutil.rmtree(place) if place.is_dir() else place.unlink()


def move_away(photos: Path) -> None:
    photos.rename(photos.with_name("elsewhere"))


def replace_weights(file: Path) -> None:
    state = load_file(file)
    save_file({name: value + 0.5 if value.is_floating_point() else value for name, value in state.items()}, file)


def truncate_weights(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def nan_weights(file: Path) -> None:
    state = load_file(file)
    save_file(
        {name: value * float("nan") if value.is_floating_point() else value for name, value in state.items()}, file
    )


class _Code:
    """Unpickled, it makes a file: a proof that code was run."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (self._marker, 0o755)


def code_in_weights(file: Path) -> None:
    """A pickle under the name of the weights."""
    file.write_bytes(pickle.dumps(_Code(file.with_name(_MARKER))))
