"""Export: a trained network as files, and back; no pickle, no study, no dataset.

A folder holds one network::

    config.json          architecture, preprocessing, class names and temperature
    model.safetensors    tensors under ``backbone.`` and ``head.`` and their names there

Loading needs torch, torchvision, safetensors, pydantic and pillow, and timm or the user's own module where the backbone
comes from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..augmentation import AugmentedViews
from ..backbones import GIVEN, bare_backbone
from ..config import BackboneSpec, HeadConfig
from ..data import EncodedImage, PixelScale, UndecodableImageError, decode_canvas, in_threads
from ..devices import autocast, choose_device, usual_precision
from ..errors import InvalidInputError
from ..preprocessing import Preprocessing
from .classifier import Classifier
from .heads import head_for, seen_by_head
from .lora import remove_adapters
from .network import Network

CARD, WEIGHTS = "config.json", "model.safetensors"
# Names in folders of older versions.
_FORMER = {CARD: "model.json", WEIGHTS: "weights.safetensors"}
_FORMAT = 1
# Images that the network takes at once.
BATCH = 64


class ModelCard(BaseModel):
    """Description from which a network is rebuilt.

    Attributes:
        format: Version of the folder's format.
        backbone: Name of the network; see :func:`~frostline.objectives.backbones.model_sources.model_source`.
        pretrained: Whether the backbone was built for given weights; a few are built in another way for random ones.
        truncate: Number of units dropped from the end.
        freeze_depth: Number of units that were frozen in the last phase of the training.
        head: Architecture of the head.
        classes: Class names, in the order of the probabilities.
        preprocessing: Preprocessing of the images.
        scale: Values that become white in images of more than 8 bits, as in training. Cards of older versions, and of
            datasets of 8-bit images, have none.
        temperature: Number by which logits are divided; see :mod:`~frostline.objectives.calibration`. Cards of older
            versions have none, and probabilities are then not calibrated.
        origin: Origin of the network, for people: study, strategy, trial, seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = _FORMAT
    backbone: str
    pretrained: bool
    truncate: int
    freeze_depth: int
    head: HeadConfig
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    scale: PixelScale = PixelScale()
    temperature: float = Field(default=1.0, gt=0)
    origin: dict[str, str | int | float] = {}


@dataclass(frozen=True)
class TrainedModel:
    """A loaded network that takes images as they are.

    Attributes:
        card: Description of the network.
        network: The network, in evaluation mode.
        device: Device on which it runs.
    """

    card: ModelCard
    network: Classifier
    device: torch.device

    def predict(self, images: Sequence[EncodedImage]) -> NDArray[np.float32]:
        """Calibrated class probabilities of images, which are prepared like validation and test images.

        Args:
            images: Paths, bytes of files, or arrays; see :func:`~frostline.objectives.data.bands.decode_canvas`.

        Returns:
            Probabilities, float32 (N, classes).

        Raises:
            UndecodableImageError: An image cannot be used; the message gives its index.
        """
        found = np.empty((len(images), len(self.card.classes)), dtype=np.float32)
        for place, row in enumerate(self.predict_each(images)):
            if isinstance(row, UndecodableImageError):
                raise UndecodableImageError(f"image {place} cannot be used: {row}") from row
            found[place] = row
        return found

    def predict_each(
        self, images: Sequence[EncodedImage], batch: int = BATCH
    ) -> Iterator[NDArray[np.float32] | UndecodableImageError]:
        """For each image, in order: its calibrated class probabilities, or why it cannot be used.

        Other threads decode the next images while the network runs.

        Args:
            images: Images; see :meth:`predict`.
            batch: Number of images that the network takes at once.

        Yields:
            Probabilities, float32 (classes,); or the error.
        """
        waiting: list[NDArray[np.uint8] | UndecodableImageError] = []
        for canvas in in_threads(self._canvas, images):
            waiting.append(canvas)
            if len(waiting) == batch:
                yield from self._answers(waiting)
                waiting = []
        yield from self._answers(waiting)

    @torch.no_grad()
    def probabilities(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Calibrated class probabilities of one batch of images that were decoded before.

        Args:
            canvases: uint8 (N, R, R, C); see :func:`~frostline.objectives.data.bands.decode_canvas`.

        Returns:
            Probabilities, float32 (N, classes).
        """
        with autocast(self.device, usual_precision(self.device)):
            return self.network(self.inputs(canvases)).softmax(dim=1).cpu().numpy()

    def inputs(self, canvases: NDArray[np.uint8]) -> Tensor:
        """The network's input, float32 (N, C, S, S), for canvases, uint8 (N, R, R, C)."""
        views = AugmentedViews("none", 1, self.card.preprocessing, len(canvases), seed=0)
        pixels = torch.from_numpy(canvases).permute(0, 3, 1, 2).to(self.device)
        return views.apply(pixels, torch.arange(len(pixels)), 0)

    def _canvas(self, image: EncodedImage) -> NDArray[np.uint8] | UndecodableImageError:
        try:
            return decode_canvas(image, self.card.preprocessing, self.card.scale)[0]
        except UndecodableImageError as error:
            return error

    def _answers(
        self, waiting: Sequence[NDArray[np.uint8] | UndecodableImageError]
    ) -> Iterator[NDArray[np.float32] | UndecodableImageError]:
        canvases = [each for each in waiting if isinstance(each, np.ndarray)]
        rows = iter(self.probabilities(np.stack(canvases)) if canvases else ())
        for each in waiting:
            yield next(rows) if isinstance(each, np.ndarray) else each


def save_network(folder: Path, network: Network, card: ModelCard) -> None:
    """Write a trained network into a folder, which is created; adapters are merged into the weights that they adapt.

    Args:
        folder: Folder to write.
        network: Trained network. Afterwards it has no adapters, and its outputs are the same up to rounding.
        card: Description of the network.
    """
    remove_adapters(network, merge=True)
    tensors = _prefixed("backbone.", network.backbone_state()) | _prefixed("head.", network.head.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: _alone(value) for name, value in tensors.items()}, folder / WEIGHTS)
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")


def copy_network(source: Path, folder: Path) -> None:
    """Copy the files of a network into an existing folder, under their present names."""
    for name in (CARD, WEIGHTS):
        shutil.copyfile(_file(source, name), folder / name)


def load_network(folder: Path, device: str = "auto") -> TrainedModel:
    """Load a network that :func:`save_network` wrote, to predict.

    Args:
        folder: Folder to read.
        device: Name of the device; see :func:`~frostline.objectives.devices.choose_device`.

    Raises:
        InvalidInputError: The folder holds no network or a damaged one, or this machine does not have the device.
    """
    chosen, card = choose_device(device), read_card(folder)
    return TrainedModel(card, _load(folder, card, chosen).folded(), chosen)


def load_classifier(folder: Path, device: str = "cpu") -> Classifier:
    """Load a network that :func:`save_network` wrote, as a plain module whose tensors have the names of the file.

    Args:
        folder: Folder to read.
        device: Name of the device; see :func:`~frostline.objectives.devices.choose_device`.

    Returns:
        The network, in evaluation mode, with gradients: it can be trained further.

    Raises:
        InvalidInputError: See :func:`load_network`.
    """
    return _load(folder, read_card(folder), choose_device(device))


def holds_network(folder: Path) -> bool:
    """Whether a folder has the description of a network."""
    return _file(folder, CARD).is_file()


def read_card(folder: Path) -> ModelCard:
    """Read the description of a network.

    Raises:
        InvalidInputError: The folder holds none, or one of another format.
    """
    try:
        card = ModelCard.model_validate_json(_file(folder, CARD).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise _unloadable(folder, error) from error
    if card.format != _FORMAT:
        raise InvalidInputError(
            f"{folder} was written by another version of Frostline (format {card.format}); use that one."
        )
    return card


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a network by name, on the CPU.

    Raises:
        InvalidInputError: The folder holds none, or a damaged file.
    """
    try:
        return load_file(_file(folder, WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise _unloadable(folder, error) from error


def _load(folder: Path, card: ModelCard, device: torch.device) -> Classifier:
    tensors = read_weights(folder)
    classifier = _build(card, device)
    _copy_in(classifier, tensors, folder)
    return classifier.eval()


def _file(folder: Path, name: str) -> Path:
    former = folder / _FORMER[name]
    return former if former.is_file() else folder / name


def _unloadable(folder: Path, error: Exception) -> InvalidInputError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return InvalidInputError(f"{folder} holds no network that Frostline can load: {reason}")


def _build(card: ModelCard, device: torch.device) -> Classifier:
    given = card.preprocessing
    spec = BackboneSpec(card.backbone, GIVEN if card.pretrained else "none", given.image_size, given.channels)
    backbone = seen_by_head(bare_backbone(spec).to(device).truncated(card.truncate), card.head)
    with torch.random.fork_rng(devices=[]):
        head = head_for(backbone, card.head, len(card.classes)).to(device)
    return Classifier(backbone.prefix(len(backbone.units)), head, card.temperature)


@torch.no_grad()
def _copy_in(classifier: Classifier, tensors: Mapping[str, Tensor], folder: Path) -> None:
    own = classifier.state_dict()
    if differing := sorted(own.keys() ^ tensors.keys()):
        raise InvalidInputError(f"{folder / WEIGHTS} does not fit its {CARD}: {', '.join(differing[:3])}.")
    for name, value in own.items():
        value.copy_(tensors[name])


def _alone(value: Tensor) -> Tensor:
    """A copy on the CPU that shares no memory: a file holds no tied tensors."""
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in state.items()}
