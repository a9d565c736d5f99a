"""A kept network as a folder for others: weights, loader, ``torch.export``, ONNX and a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from ...objectives.augmentation import center_crop
from ...objectives.errors import InvalidInputError
from ...objectives.networks import (
    CARD,
    WEIGHTS,
    ModelCard,
    NotExportedError,
    PixelClassifier,
    copy_network,
    make_program,
    missing_onnx_libraries,
    write_onnx,
    write_program,
)
from ..study import Study
from ..tracking import copy_code
from .agreement import CheckImages
from .kept import KeptNetwork, load_kept, open_kept
from .model_card import Graphs, describe_network

PROGRAM, ONNX, LOADER, CODE, README = "model.pt2", "model.onnx", "hubconf.py", "code", "README.md"
_LOADER = '''"""Loads the network of this folder, without Frostline:

    torch.hub.load(FOLDER, "classifier", source="local")
"""

import sys
from pathlib import Path

dependencies = {dependencies}
_FOLDER = Path(__file__).parent


def classifier(device="cpu"):
    """A torch.nn.Module: normalized images (N, {channels}, {side}, {side}) to calibrated logits (N, {classes})."""
    return _load("load_classifier", device)


def predictor(device="auto"):
    """Takes image files: predictor.predict([path, ...]) gives calibrated probabilities (N, {classes})."""
    return _load("load_network", device)


def _load(function, device):
    code = str(_FOLDER / "{code}")
    sys.path.insert(0, code)
    try:
        from {package}.networks import export

        return getattr(export, function)(_FOLDER, device)
    finally:
        sys.path.remove(code)
'''
# What the loader imports.
_DEPENDENCIES = ["torch", "torchvision", "safetensors", "pydantic", "numpy", "PIL", "lazy_loader"]


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: Names of the files and folders in the folder.
        not_written: Why files are missing, by name.
        incomplete: Whether one of them could not be made; libraries that are not installed do not count.
    """

    files: tuple[str, ...]
    not_written: dict[str, str]
    incomplete: bool


def export_study(
    study: Study, strategy: str | None, folder: Path, *, pixels: bool = False, note: Callable[[str], None]
) -> Exported:
    """Write the network that a study registers for a strategy, with everything to use it elsewhere.

    Args:
        study: Study that reached its verdict.
        strategy: Name of the strategy; None for the one that the verdict recommends.
        folder: Folder to write, missing or empty.
        pixels: Whether ``model.pt2`` and ``model.onnx`` take uint8 pixels (N, S, S, C) and normalize them; otherwise
            they take normalized images, float32 (N, C, S, S).
        note: Function that writes a line of progress.

    Raises:
        InvalidInputError: The folder is not empty or cannot be written; or see :func:`open_kept`.
        StorageError: The network is gone, or gives other probabilities than its final recorded; nothing is written.
    """
    _require_empty(folder)
    with open_kept(study, strategy) as kept:
        images = CheckImages.of(study, kept.final, load_kept(kept, "cpu"))
        images.difference()
        with _new_folder(folder):
            return _write(study, kept, images, folder, pixels, note)


def _require_empty(folder: Path) -> None:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise _unwritable(folder, error) from error
    if taken:
        what = "is not empty" if folder.is_dir() else "is a file"
        raise InvalidInputError(f"{folder} {what}. Name a new or empty folder with --to.")


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Create a folder to write within the block; a block that fails or is interrupted leaves nothing in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for each in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        if isinstance(error, OSError | SafetensorError):
            raise _unwritable(folder, error) from error
        raise


def _unwritable(folder: Path, error: Exception) -> InvalidInputError:
    reason = getattr(error, "strerror", None) or error
    return InvalidInputError(
        f"Cannot write {folder}: {reason}. Name a folder that you can write, on a disk with space, with --to."
    )


def _write(
    study: Study, kept: KeptNetwork, images: CheckImages, folder: Path, pixels: bool, note: Callable[[str], None]
) -> Exported:
    card = images.model.card
    copy_network(kept.folder / "network", folder)
    _write_loader(folder, card)
    note(f"{WEIGHTS} and {CARD} are written, with the code that loads them.")
    graphs = _GraphWriter(images, folder, pixels)
    note(f"Writing and checking {PROGRAM} and {ONNX}: this takes a minute or two.")
    graphs.write()
    for file, reason in graphs.not_written.items():
        note(f"{file} is not written: {reason}")
    checked = images.sentence(graphs.differences)
    text = describe_network(study, kept, Graphs(pixels, tuple(graphs.differences), checked))
    (folder / README).write_text(text, encoding="utf-8")
    files = tuple(sorted(each.name for each in folder.iterdir()))
    return Exported(files, graphs.not_written, graphs.failed)


def _write_loader(folder: Path, card: ModelCard) -> None:
    package = copy_code(folder / CODE, card.backbone, card.head.function)
    text = _LOADER.format(
        dependencies=[*_DEPENDENCIES, *(["timm"] if card.backbone.startswith("timm:") else [])],
        side=card.preprocessing.image_size,
        channels=card.preprocessing.channels,
        classes=len(card.classes),
        code=CODE,
        package=package,
    )
    (folder / LOADER).write_text(text, encoding="utf-8")


class _GraphWriter:
    """Writes the network as programs, each checked against it.

    Attributes:
        differences: Largest difference of a probability from the network's, by file that was written.
        not_written: Why files are missing, by name.
        failed: Whether a file is missing for another reason than a library that is not installed.
    """

    def __init__(self, images: CheckImages, folder: Path, pixels: bool) -> None:
        self._images, self._folder, self._pixels = images, folder, pixels
        self.differences: dict[str, float] = {}
        self.not_written: dict[str, str] = {}
        self.failed = False

    def write(self) -> None:
        model = self._images.model
        network = PixelClassifier(model.network, model.card.preprocessing) if self._pixels else model.network
        # Two images: from one, the exporter would take the number for a constant.
        example = self._inputs(np.repeat(self._images.canvases[:1], 2, axis=0))
        try:
            program = make_program(network.eval(), example)
        except NotExportedError as error:
            self.failed = True
            self.not_written |= {PROGRAM: str(error), ONNX: str(error)}
            return
        self._write(PROGRAM, lambda file: write_program(program, file))
        if missing_onnx_libraries():
            self.not_written[ONNX] = "it needs pip install 'frostline[onnx]'"
            return
        name = "pixels" if self._pixels else "images"
        self._write(ONNX, lambda file: write_onnx(program, file, name, _metadata(model.card)))

    def _write(self, name: str, write: Callable[[Path], Callable[[Tensor], Tensor]]) -> None:
        """Write a file and compare it; a file that cannot be made or differs is removed."""
        file = self._folder / name
        try:
            self.differences[name] = self._images.require(write(file), self._inputs)
        except NotExportedError as error:
            file.unlink(missing_ok=True)
            self.failed = True
            self.not_written[name] = str(error)

    def _inputs(self, canvases: NDArray[np.uint8]) -> Tensor:
        model = self._images.model
        if not self._pixels:
            return model.inputs(canvases).contiguous()
        crops = center_crop(torch.from_numpy(canvases).permute(0, 3, 1, 2), model.card.preprocessing.image_size)
        return crops.permute(0, 2, 3, 1).contiguous()


def _metadata(card: ModelCard) -> dict[str, str]:
    """Return what a file of ONNX says about the network."""
    return {
        "classes": json.dumps(list(card.classes)),
        "preprocessing": json.dumps(asdict(card.preprocessing)),
        "temperature": str(card.temperature),
        "output": "logits, divided by the temperature: their softmax gives calibrated probabilities",
        **{name: str(value) for name, value in card.origin.items()},
    }
