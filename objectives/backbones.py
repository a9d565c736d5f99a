"""The pretrained networks: the classification models of torchvision by name, built, loaded and cut into units."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import fx, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models

from .cuts import Cut, find_cuts, segment, trace
from .errors import InvalidInputError, unknown_name
from .preprocessing import SMALLEST_IMAGE, preprocessing_for
from .units import Unit, group
from .weights import SUFFIXES, WeightsReport, check_weights_file, fit_weights, load_weights, rename


@dataclass(frozen=True)
class BackboneSpec:
    """Which network, with which weights, for which images.

    Attributes:
        name: Of a torchvision classification model, e.g. ``"resnet18"``.
        weights: A torchvision weights name (``"DEFAULT"``, ``"IMAGENET1K_V1"``), which torchvision downloads; the path
            of a local ``.safetensors``, ``.pt`` or ``.pth`` file; or ``"none"``.
        image_size: Side of the square that the network sees, pixels.
    """

    name: str
    weights: str = "DEFAULT"
    image_size: int = 224


@dataclass(frozen=True)
class BackboneInfo:
    """One line of the list of backbones; what torchvision publishes about a model.

    Attributes:
        name: Of the model.
        parameters: With its ImageNet classifier.
        gflops: 1e9 floating-point operations per image of the default size; a multiply-add counts 2.
        image_size: Default, pixels.
        min_image_size: Smallest side that it can take, pixels.
        weights: Names of the published weights.
    """

    name: str
    parameters: int
    gflops: float
    image_size: int
    min_image_size: int
    weights: tuple[str, ...]


@dataclass
class Backbone:
    """A network that can be cut after each of its units.

    Attributes:
        name: Of the torchvision model.
        model: The whole model with its own classifier, in eval mode at first.
        units: Of the backbone, from the input to the last feature map.
        weights_report: What was loaded.
    """

    name: str
    model: nn.Module
    units: tuple[Unit, ...]
    weights_report: WeightsReport = field(default_factory=WeightsReport)
    _traced: fx.GraphModule = field(kw_only=True, repr=False)
    _bounds: tuple[Cut, ...] = field(kw_only=True, repr=False)

    def segment(self, start: int = 0, stop: int | None = None) -> fx.GraphModule:
        """The part of the model between two cuts; it shares its modules with ``model``.

        Args:
            start: Units before it; 0 takes images (N, 3, H, W).
            stop: Units before its end; ``len(units)`` is the end of the backbone, None the end of the model with its
                own classifier.

        Returns:
            A module from the tensor at ``start`` to that at ``stop``; nothing in it writes to its input.

        Raises:
            ValueError: Not ``0 <= start <= stop <= len(units)``.
        """
        n = len(self.units)
        if not 0 <= start <= (n if stop is None else stop) <= n:
            raise ValueError(f"A segment needs 0 <= start <= stop <= {n}, but got {start=}, {stop=}.")
        return segment(self._traced, self._bounds[start], self._bounds[-1 if stop is None else stop])

    def truncated(self, dropped: int) -> Backbone:
        """The same network without its last units; it shares everything with this one.

        Args:
            dropped: How many, at least one unit must stay.
        """
        kept = len(self.units) - dropped
        return replace(self, units=self.units[:kept], _bounds=(*self._bounds[: kept + 1], self._bounds[-1]))

    def to(self, device: torch.device | str) -> Backbone:
        """Move the network; segments made from now on are there."""
        self.model.to(device)
        # Buffers that the graph reads directly are its own: moving a module replaces them.
        self._traced.to(device)
        return self

    def unit_tensors(self) -> dict[str, list[str]]:
        """Names of each unit's parameters and buffers, in order from the input."""
        bounds = pairwise(self._bounds[:-1])
        return {
            unit.name: list(segment(self._traced, *pair).state_dict())
            for unit, pair in zip(self.units, bounds, strict=True)
        }

    def frozen_share(self, depth: int) -> tuple[float, float]:
        """Share of the backbone's parameters, and of its forward operations, in its first ``depth`` units."""
        return _share(self.units, depth, "parameters"), _share(self.units, depth, "flops")


def backbone_names() -> list[str]:
    """Names of all classification models of torchvision, sorted."""
    return list_models(module=torchvision.models)


def backbone_table() -> list[BackboneInfo]:
    """What torchvision publishes about each model; builds none."""
    return [_info(name) for name in backbone_names()]


def check_backbone(spec: BackboneSpec) -> None:
    """Refuse what cannot work, without building anything.

    Raises:
        InvalidInputError: Unknown backbone or weights, a file that is missing or unreadable, or an image size that
            the model cannot take; all faults at once.
    """
    if spec.name not in backbone_names():
        raise InvalidInputError(unknown_name("backbone", spec.name, backbone_names(), list_valid="frostline backbones"))
    faults = [_weights_fault(spec), _size_fault(spec)]
    if any(faults):
        raise InvalidInputError([fault for fault in faults if fault])


def create_backbone(spec: BackboneSpec, *, pretrained: bool = True, seed: int = 0) -> Backbone:
    """Build a network, load its weights and cut it into units.

    Args:
        spec: Which one.
        pretrained: False for fresh random weights, whatever ``spec.weights`` says.
        seed: Of the random initialisation; the global random state is left alone.

    Raises:
        InvalidInputError: See :func:`check_backbone`; or the weights do not fit the model.
    """
    check_backbone(spec)
    pretrained = pretrained and spec.weights != "none"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = get_model(spec.name, weights=None, **_options(spec, pretrained)).eval()
    traced = trace(model)
    cuts = find_cuts(traced, spec.image_size)
    units, bounds = group(traced, model, cuts)
    backbone = Backbone(spec.name, model, tuple(units), _traced=traced, _bounds=(*bounds, cuts[-1]))
    if pretrained:
        backbone.weights_report = _load(backbone, spec)
    return backbone


def _options(spec: BackboneSpec, pretrained: bool) -> dict[str, Any]:
    """Keyword arguments that some of the builders need."""
    if spec.name in ("googlenet", "inception_v3"):
        # Their published weights come from TensorFlow and expect other input statistics; the model converts.
        return {"aux_logits": False, "init_weights": True, "transform_input": pretrained}
    if spec.name.startswith("vit_"):
        return {"image_size": spec.image_size}
    if spec.name.startswith("maxvit"):
        return {"input_size": (spec.image_size, spec.image_size)}
    return {}


def _load(backbone: Backbone, spec: BackboneSpec) -> WeightsReport:
    tensors = backbone.unit_tensors()
    held = {name for names in tensors.values() for name in names}
    classifier = {name.split(".")[0] for name in backbone.model.state_dict() if name not in held}
    published = _published(spec.name)
    if spec.weights not in published:
        return load_weights(backbone.model, Path(spec.weights), classifier, tensors)
    try:
        state = published[spec.weights].get_state_dict(progress=True, check_hash=True, weights_only=True)
    except OSError as error:
        raise InvalidInputError(
            f"The weights {spec.weights} of {spec.name} could not be downloaded ({error}). "
            "Check the network, or give --weights FILE, or --weights none for random ones."
        ) from None
    return fit_weights(backbone.model, rename(state), classifier, tensors)


def _published(name: str) -> dict[str, WeightsEnum]:
    """Published weights by name, ``DEFAULT`` among them."""
    return dict(get_model_weights(name).__members__)


def _weights_fault(spec: BackboneSpec) -> str | None:
    published = _published(spec.name)
    if spec.weights == "none" or spec.weights in published:
        return None
    path = Path(spec.weights)
    if path.suffix in SUFFIXES or path.exists() or len(path.parts) > 1:
        return check_weights_file(path)
    choices = [*published, "none", f"a file ({', '.join(SUFFIXES)})"]
    return unknown_name(f"weights for {spec.name}", spec.weights, choices)


def _size_step(name: str) -> int:
    """What the side of the image must be a multiple of."""
    if name.startswith("maxvit"):
        return 224  # Windows of 7 in each of five halvings.
    patch = re.fullmatch(r"vit_\w_(\d+)", name)
    return int(patch[1]) if patch else 1


def _min_image_size(name: str) -> int:
    """Smallest side that works, pixels: published, but transformers publish the side that they were trained at."""
    step, entry = _size_step(name), next(iter(_published(name).values()))
    smallest, trained = entry.meta["min_size"][0], preprocessing_for(name, entry.name).image_size
    smallest = max(SMALLEST_IMAGE, smallest if smallest < trained else 0)
    return -(-smallest // step) * step


def _size_fault(spec: BackboneSpec) -> str | None:
    step, smallest = _size_step(spec.name), _min_image_size(spec.name)
    if spec.image_size >= smallest and spec.image_size % step == 0:
        return None
    nearest = max(smallest, round(spec.image_size / step) * step)
    rule = f"a multiple of {step}" if step > 1 else f"at least {smallest} px"
    return f"{spec.name} cannot take images of {spec.image_size} px: it needs {rule}. Try {nearest}."


def _info(name: str) -> BackboneInfo:
    published = get_model_weights(name)
    first = next(iter(published))
    return BackboneInfo(
        name=name,
        parameters=first.meta["num_params"],
        gflops=2 * first.meta["_ops"],
        image_size=preprocessing_for(name, first.name).image_size,
        min_image_size=_min_image_size(name),
        weights=tuple(entry.name for entry in published),
    )


def _share(units: Iterable[Unit], depth: int, what: str) -> float:
    amounts = [getattr(unit, what) for unit in units]
    return sum(amounts[:depth]) / sum(amounts)
