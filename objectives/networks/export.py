"""Export: a trained network as files, and back; no pickle, no study, no dataset.

A folder holds one network::

    model.json             architecture, preprocessing, class names and temperature
    weights.safetensors    tensors under ``backbone.`` and ``head.`` and their names there

Loading needs torch, torchvision, safetensors, pydantic and pillow, and timm or the user's own module where the backbone
comes from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ..data import EncodedImage, PixelScale, UndecodableImageError, decode_image, to_canvas
from ..devices import autocast, choose_device
from ..errors import InvalidInputError
from ..phases import Phase
from ..preprocessing import Preprocessing
from .heads import create_head
from .lora import remove_adapters
from .network import Network

CARD, WEIGHTS = "model.json", "weights.safetensors"
_FORMAT = 1
# Images in memory at once.
_BATCH = 128


class ModelCard(BaseModel):
    """Description from which a network is rebuilt.

    Attributes:
        format: Version of the folder's format.
        backbone: Name of the network; see :func:`~frostline.objectives.backbones.model_sources.model_source`.
        pretrained: Whether the backbone was built for given weights; a few are built in another way for random ones.
        truncate: Number of units dropped from the end.
        freeze_depth: Number of units of the prefix, which always runs at the canonical batch size.
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
    """A loaded network.

    Attributes:
        card: Description of the network.
        network: The network, in evaluation mode.
        device: Device on which it runs.
    """

    card: ModelCard
    network: Network
    device: torch.device

    @torch.no_grad()
    def predict(self, images: Sequence[EncodedImage]) -> NDArray[np.float32]:
        """Calibrated class probabilities of images, which are prepared like validation and test images.

        Args:
            images: Paths, bytes of files, or arrays; see :func:`~frostline.objectives.data.decoding.decode_image`.

        Returns:
            Probabilities, float32 (N, classes).

        Raises:
            UndecodableImageError: An image cannot be used; the message gives its index.
        """
        views = AugmentedViews("none", 1, self.card.preprocessing, len(images), seed=0)
        rows = [np.empty((0, len(self.card.classes)), dtype=np.float32)]
        for start in range(0, len(images), _BATCH):
            canvases = np.stack([self._canvas(images[place], place) for place in _places(start, len(images))])
            pixels = torch.from_numpy(canvases).permute(0, 3, 1, 2).to(self.device)
            with autocast(self.device):
                logits = self.network(views.apply(pixels, torch.arange(len(pixels)), 0))
            rows.append((logits.float() / self.card.temperature).softmax(dim=1).cpu().numpy())
        return np.concatenate(rows)

    def _canvas(self, image: EncodedImage, place: int) -> NDArray[np.uint8]:
        try:
            return to_canvas(decode_image(image, self.card.scale), self.card.preprocessing)
        except UndecodableImageError as error:
            raise UndecodableImageError(f"image {place} cannot be used: {error}") from error


def _places(start: int, count: int) -> range:
    return range(start, min(start + _BATCH, count))


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
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / WEIGHTS)
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_network(folder: Path, device: str = "auto") -> TrainedModel:
    """Load a network that :func:`save_network` wrote.

    Args:
        folder: Folder to read.
        device: Name of the device; see :func:`~frostline.objectives.devices.choose_device`.

    Raises:
        InvalidInputError: The folder holds no network or a damaged one, or this machine does not have the device.
    """
    try:
        card = ModelCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValidationError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidInputError(f"{folder} holds no network that Frostline can load: {reason}") from error
    if card.format != _FORMAT:
        raise InvalidInputError(
            f"{folder} was written by another version of Frostline (format {card.format}); use that one."
        )
    chosen = choose_device(device)
    network = _build(card, chosen)
    _copy_in(network, tensors, folder)
    return TrainedModel(card, network.eval(), chosen)


def _build(card: ModelCard, device: torch.device) -> Network:
    spec = BackboneSpec(card.backbone, GIVEN if card.pretrained else "none", card.preprocessing.image_size)
    backbone = bare_backbone(spec).to(device).truncated(card.truncate)
    with torch.random.fork_rng(devices=[]):
        head = create_head(card.head, backbone.units[-1].output_shape, len(card.classes)).to(device)
    rates = (0.0,) * (len(backbone.units) - card.freeze_depth)
    return Network(backbone, Phase("inference", card.freeze_depth, 0, 0.0, rates), head)


@torch.no_grad()
def _copy_in(network: Network, tensors: Mapping[str, Tensor], folder: Path) -> None:
    own = {_stored_name(name): value for name, value in network.state_dict().items()}
    if differing := sorted(own.keys() ^ tensors.keys()):
        raise InvalidInputError(f"{folder / WEIGHTS} does not fit its {CARD}: {', '.join(differing[:3])}.")
    for name, value in own.items():
        value.copy_(tensors[name])


def _stored_name(name: str) -> str:
    return name if name.startswith("head.") else f"backbone.{Network.model_name(name)}"


def _prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in state.items()}
