"""Backbones: networks built by name, loaded and cut into units."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor, fx, nn

from ..config import BackboneSpec
from ..errors import InvalidInputError, unknown_name
from ..preprocessing import MAX_IMAGE_SIZE, RGB
from .cuts import Cut, find_cuts, segment
from .first_layer import describe_first_layer, widen
from .input_faults import cannot_take_images
from .model_sources import model_source
from .patch_embedding import embeds_patches
from .trace_notes import TraceNotes, notes_of
from .tracing import trace
from .undecayed import undecayed_parameters
from .units import Unit, describe_unit, group
from .weights import WeightsReport, fit_weights, load_weights, rename
from .weights_files import SUFFIXES, check_weights_file, is_weights_file, weights_path

# Stands for weights that are copied in later: a source builds the network for weights, but loads none.
GIVEN = "given.safetensors"


@dataclass
class Backbone:
    """A network that can be cut after each of its units.

    Attributes:
        name: Name of the network.
        model: The whole model with its own classifier, initially in evaluation mode.
        units: Units of the backbone, from the input to the last feature map.
        weights_report: Result of loading the weights.
        undecayed: Names of the parameters that the network exempts from weight decay.
        depths: Number of last units whose outputs are the backbone's features.
        first_layer: What was done to the first layer for images of other than 3 channels; empty for color.
    """

    name: str
    model: nn.Module
    units: tuple[Unit, ...]
    weights_report: WeightsReport = field(default_factory=WeightsReport)
    undecayed: frozenset[str] = frozenset()
    depths: int = 1
    first_layer: str = ""
    _traced: fx.GraphModule = field(kw_only=True, repr=False)
    _bounds: tuple[Cut, ...] = field(kw_only=True, repr=False)
    _cuts: tuple[Cut, ...] = field(kw_only=True, repr=False)
    _device: torch.device | None = field(default=None, kw_only=True, repr=False)
    # Cached: trials use the same few segments.
    _segments: dict[tuple[Cut, ...], fx.GraphModule] = field(default_factory=dict, kw_only=True, repr=False)

    def segment(self, start: int = 0, stop: int | None = None) -> fx.GraphModule:
        """The part of the model between two cuts; it shares its modules with ``model``.

        Args:
            start: Number of units before it; 0 takes images (N, C, H, W).
            stop: Number of units before its end; ``len(units)`` is the end of the backbone, None the end of the model
                with its own classifier.

        Returns:
            A module from the tensor at ``start`` to the tensor at ``stop``, the same at every call; it never writes to
            its input.

        Raises:
            ValueError: Not ``0 <= start <= stop <= len(units)``.
        """
        n = len(self.units)
        if not 0 <= start <= (n if stop is None else stop) <= n:
            raise ValueError(f"A segment needs 0 <= start <= stop <= {n}, but got {start=}, {stop=}.")
        return self._between(self._bounds[start], self._bounds[-1 if stop is None else stop])

    def prefix(self, depth: int) -> fx.GraphModule:
        """The first units; all of them together give the backbone's features.

        Args:
            depth: Number of units.

        Returns:
            A module from images (N, C, H, W) to the output of the last of these units; to a tuple with those of the
            last ``depths`` units, in order, if all units are asked for and ``depths`` is above 1.
        """
        if depth < len(self.units) or self.depths == 1:
            return self.segment(0, depth)
        *earlier, stop = self._bounds[-self.depths - 1 : -1]
        return self._between(self._bounds[0], stop, *earlier)

    def _between(self, *cuts: Cut) -> fx.GraphModule:
        if cuts not in self._segments:
            self._segments[cuts] = segment(self._traced, *cuts)
        return self._segments[cuts]

    @property
    def notes(self) -> TraceNotes:
        """What the trace could not see into; empty for a network that is cut in the quick and complete way."""
        return notes_of(self._traced)

    @property
    def embeds_patches(self) -> bool:
        """Whether the first of several units is a patch embedding; see :func:`embeds_patches`."""
        return len(self.units) > 1 and embeds_patches(self.segment(0, 1))

    def truncated(self, dropped: int) -> Backbone:
        """The same network without its last units; it shares everything with this one.

        Args:
            dropped: Number of units to drop; at least one unit must stay.
        """
        kept = len(self.units) - dropped
        return replace(self, units=self.units[:kept], _bounds=(*self._bounds[: kept + 1], self._bounds[-1]))

    def before_pooling(self) -> Backbone:
        """The same network up to the last map or tokens, where its last unit pools them to vectors, by a class token or
        a mean; it shares everything with this one.

        Raises:
            InvalidInputError: There are none in the last unit.
        """
        start, stop = self._bounds[-3], self._bounds[-2]
        if len(stop.shape) > 1:
            return self
        last = self.units[-1]
        inside = [cut for cut in self._cuts if start.position < cut.position < stop.position]
        # A map of one place is pooled already.
        unpooled = [cut for cut in inside if math.prod(cut.shape) > max(cut.shape)]
        if not unpooled:
            raise InvalidInputError(
                f"head.pooling = 'attention' needs a feature map or tokens, and the last unit, {last.name}, has none: "
                "set another pooling"
            )
        end = unpooled[-1]
        unit = describe_unit(self._traced, self.model, last.name, start, end)
        bounds = (*self._bounds[:-2], end, self._bounds[-1])
        return replace(self, units=(*self.units[:-1], unit), _bounds=bounds)

    def with_depths(self, depths: int) -> Backbone:
        """The same network with the outputs of its last ``depths`` units as features; it shares everything."""
        return replace(self, depths=depths)

    def to(self, device: torch.device | str) -> Backbone:
        """Move the network and its segments to a device, with convolutions in their fast memory format
        (channels-last).
        """
        if torch.device(device) == self._device:
            return self
        self._device = torch.device(device)
        self.model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        # The graph has its own copies of buffers that it reads directly: moving a module replaces them.
        for part in (self._traced, *self._segments.values()):
            part.to(device)
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


def check_backbone(spec: BackboneSpec) -> None:
    """Refuse a specification that cannot work, without building anything.

    Raises:
        InvalidInputError: The backbone or its weights are unknown, the weights file is missing or unreadable, or the
            model cannot take images of this size; all faults at once.

    Example:
        >>> from frostline.objectives.backbones import check_backbone
        >>> from frostline.objectives.config import BackboneSpec
        >>> check_backbone(BackboneSpec("resnet18", "none", image_size=64))
        >>> check_backbone(BackboneSpec("resnet81"))
        Traceback (most recent call last):
        frostline.objectives.errors.InvalidInputError: Unknown backbone 'resnet81'. Did you mean 'resnet18'? ...
    """
    model_source(spec.name)
    faults = [_weights_fault(spec), _size_fault(spec)]
    if any(faults):
        raise InvalidInputError([fault for fault in faults if fault])


def create_backbone(spec: BackboneSpec, *, pretrained: bool = True, seed: int = 0) -> Backbone:
    """Build a network, load its weights and cut it into units.

    Args:
        spec: Network, weights, image size and channels.
        pretrained: Whether to load ``spec.weights``; False draws random weights.
        seed: Seed of the random weights; the global random state is left unchanged.

    Raises:
        InvalidInputError: See :func:`check_backbone`; or the weights do not fit the model.
    """
    check_backbone(spec)
    weights = spec.weights if pretrained and spec.weights != "none" else None
    model, widened = _build(spec, weights, seed)
    backbone = cut(spec.name, model, spec.image_size, spec.channels)
    if weights is not None:
        backbone.weights_report = _load(backbone, weights, spec.channels)
    # timm fits the weights that it loads itself.
    adapted = widened or backbone.weights_report.adapted or _is_published_by_timm(spec)
    backbone.first_layer = describe_first_layer(spec.channels, pretrained=weights is not None, adapted=bool(adapted))
    return backbone


def bare_backbone(spec: BackboneSpec) -> Backbone:
    """Build a network as for its weights and cut it into units; the caller copies the weights in, nothing is
    downloaded where they are :data:`GIVEN`.
    """
    weights = None if spec.weights == "none" else spec.weights
    model, _ = _build(spec, weights, seed=0)
    return cut(spec.name, model, spec.image_size, spec.channels)


def random_weights(spec: BackboneSpec, seed: int) -> dict[str, Tensor]:
    """Parameters and buffers of the network at its random initialization; the global random state is left unchanged.

    Raises:
        InvalidInputError: The network's source cannot draw random weights.
    """
    return _build(spec, None, seed)[0].state_dict()


def _build(spec: BackboneSpec, weights: str | None, seed: int) -> tuple[nn.Module, bool]:
    """The network, and whether its first layer was made for the channels here; see :func:`widen`."""
    source = model_source(spec.name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = source.create(spec.image_size, weights, spec.channels).eval()
        # The weights of others than a function of the user's are copied in later.
        loaded = weights is not None and weights in source.weights and ":" in spec.name
        widened = widen(model, spec.name, spec.image_size, spec.channels, pretrained=loaded)
        return model, widened and loaded


def _is_published_by_timm(spec: BackboneSpec) -> bool:
    return spec.name.startswith("timm:") and spec.weights in model_source(spec.name).weights


def cut(name: str, model: nn.Module, image_size: int, channels: int = RGB) -> Backbone:
    """Divide any network into units.

    Args:
        name: Name of the network, for messages.
        model: Network from images (N, channels, image_size, image_size) to one tensor.
        image_size: Side of the images, pixels.
        channels: Number of channels of the images.

    Raises:
        InvalidInputError: The network cannot be cut, or not for images of this size; with the reason.

    Example:
        >>> from torch import nn
        >>> from frostline.objectives.backbones.backbone import cut
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8 * 4 * 4, 2))
        >>> [(unit.name, unit.kind, unit.output_shape) for unit in cut("tiny", net, image_size=8).units]
        [('0', 'Conv2d', (4, 6, 6)), ('1', 'Conv2d', (8, 4, 4))]
    """
    traced = trace(model, image_size, channels)
    try:
        cuts = find_cuts(traced, image_size, channels)
    # It runs the network, which may be the user's, on images of this size.
    except Exception as error:
        raise cannot_take_images(name, model, image_size, error, channels) from error
    units, bounds = group(traced, model, cuts)
    exempt = undecayed_parameters(model)
    ends = (*bounds, cuts[-1])
    return Backbone(name, model, tuple(units), undecayed=exempt, _traced=traced, _bounds=ends, _cuts=tuple(cuts))


def _load(backbone: Backbone, weights: str, channels: int) -> WeightsReport:
    own = backbone.model.state_dict().keys()
    tensors = {unit: [name for name in names if name in own] for unit, names in backbone.unit_tensors().items()}
    classifier = _classifier_prefixes(own, {name for names in tensors.values() for name in names})
    source = model_source(backbone.name)
    if weights not in source.weights:
        return load_weights(backbone.model, weights_path(weights), classifier, tensors, channels)
    state = source.state(weights)
    if state is None:
        return WeightsReport(loaded=tuple(sorted(own)))
    return fit_weights(backbone.model, rename(state), classifier, tensors, channels)


def _classifier_prefixes(names: Iterable[str], held: Collection[str]) -> set[str]:
    """The outermost modules that hold no tensor of the backbone."""
    inner = {name[:end] for name in held for end, letter in enumerate(name) if letter == "."}
    prefixes = set()
    for name in set(names) - set(held):
        outer = [name[:end] for end, letter in enumerate(name) if letter == "."]
        prefixes.add(next((path for path in [*outer, name] if path not in inner), name))
    return prefixes


def _weights_fault(spec: BackboneSpec) -> str | None:
    published = model_source(spec.name).weights
    if spec.weights == "none" or spec.weights in published:
        return None
    if is_weights_file(spec.weights):
        return check_weights_file(weights_path(spec.weights))
    choices = [*published, "none", f"a file ({', '.join(SUFFIXES)})"]
    return unknown_name(f"weights for {spec.name}", spec.weights, choices)


def _size_fault(spec: BackboneSpec) -> str | None:
    smallest, step = model_source(spec.name).size_rule()
    if smallest <= spec.image_size <= MAX_IMAGE_SIZE and spec.image_size % step == 0:
        return None
    nearest = max(smallest, round(min(spec.image_size, MAX_IMAGE_SIZE) / step) * step)
    least = f"a multiple of {step}" if step > 1 else f"at least {smallest} px"
    rule = f"at most {MAX_IMAGE_SIZE} px" if spec.image_size > MAX_IMAGE_SIZE else least
    return f"{spec.name} cannot take images of {spec.image_size} px: it needs {rule}. Try --image-size {nearest}."


def _share(units: Iterable[Unit], depth: int, what: str) -> float:
    amounts = [getattr(unit, what) for unit in units]
    # Of units without any, none is frozen.
    return sum(amounts[:depth]) / (sum(amounts) or 1)
