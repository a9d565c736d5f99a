"""A backbone in torchvision's terms: which node gives its features, which parts of the model are which units, and how
to build it with its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from torchvision.ops import StochasticDepth

from ...objectives.backbones import Backbone, is_weights_file, model_source, read_mappings, weights_path
from ...objectives.config import BackboneSpec
from ...objectives.errors import InvalidInputError


def tracer(name: str) -> dict[str, Any]:
    """Return the options of torchvision's feature extraction for a backbone.

    Random depth is kept whole, so that it is off in frozen parts; in networks of timm, also what timm lists as not to
    be traced.
    """
    if not name.startswith("timm:"):
        return {"leaf_modules": [StochasticDepth]}
    from timm.layers.drop import DropPath
    from timm.models import get_notrace_functions, get_notrace_modules

    whole = [StochasticDepth, DropPath, *get_notrace_modules()]
    return {"leaf_modules": whole, "autowrap_functions": get_notrace_functions()}


@dataclass(frozen=True)
class WeightsSource:
    """Where a script finds the tensors of a weights file.

    Attributes:
        file: Path of the file.
        place: Keys that lead to the tensors in a file of torch.
        prefix: What comes before the network's names.
    """

    file: str
    place: tuple[str, ...]
    prefix: str


def feature_nodes(backbone: Backbone, image_size: int) -> list[str]:
    """Return the names of the nodes, as torchvision's feature extraction has them, that give the backbone's features:
    one for each unit that a head sees.

    Args:
        backbone: Backbone.
        image_size: Side of the images that it was cut for, pixels.

    Raises:
        InvalidInputError: torchvision cannot trace the network, or no nodes give the features.
    """
    model, options = backbone.model.eval(), tracer(backbone.name)
    images = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    try:
        train, evaluated = get_graph_node_names(model, options)
        common = [name for name in evaluated if name in set(train)]
        with torch.no_grad():
            features = backbone.prefix(len(backbone.units))(images)
            expected = [features] if isinstance(features, Tensor) else list(features)
            values = _extract(model, common, images, options)
            nodes = [
                _node_of(each, values, partial(_extract, model, images=images, options=options)) for each in expected
            ]
            found = _extract(model, [name for name in nodes if name], images, options)
    # The code of any network.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InvalidInputError(f"torchvision's feature extraction cannot trace {backbone.name}: {reason}") from error
    same = [name for name, each in zip(nodes, expected, strict=True) if name and _same(found[name], each)]
    if len(same) < len(expected):
        raise InvalidInputError(f"torchvision's feature extraction has no node with the features of {backbone.name}")
    return same


def _node_of(expected: Tensor, values: dict[str, Any], extract: Callable[[list[str]], dict[str, Any]]) -> str | None:
    """Return the first node with these values; later ones, such as a dropout, belong to a classifier.

    A later operation may have written into the value of an earlier node: each is tried alone.
    """
    alike = [name for name, value in values.items() if _same(value, expected)]
    return next((name for name in alike if _same(extract([name])[name], expected)), None)


def feature_names(backbone: Backbone) -> list[str]:
    """Return what a script calls the features, one name for each unit that a head sees."""
    first = len(backbone.units) - backbone.depths
    return ["features"] if backbone.depths == 1 else [f"features_{first + each}" for each in range(backbone.depths)]


def _extract(model: nn.Module, names: Collection[str], images: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    return create_feature_extractor(model, {name: name for name in names}, tracer_kwargs=options)(images.clone())


def _same(found: Any, expected: Tensor) -> bool:
    if not isinstance(found, Tensor):
        return False
    return found.shape == expected.shape and bool(torch.allclose(found, expected, rtol=1e-5, atol=1e-6))


def parts_of(backbone: Backbone, units: Collection[int]) -> tuple[str, ...]:
    """Return the names of the modules and parameters that some units consist of, as few as possible.

    Args:
        backbone: Backbone.
        units: Numbers of the units.

    Example:
        The first three units of a ResNet-18 are ``("conv1", "bn1", "relu", "maxpool", "layer1")``.
    """
    inside = {name for unit in units for name in _used(backbone, unit)}
    outside = {name for unit in range(len(backbone.units)) if unit not in units for name in _used(backbone, unit)}
    return tuple(dict.fromkeys(_outermost(name, outside) for name in _ordered(backbone, inside)))


def _used(backbone: Backbone, unit: int) -> list[str]:
    """Return the modules and tensors that a unit calls or reads."""
    nodes = backbone.segment(unit, unit + 1).graph.nodes
    return [str(node.target) for node in nodes if node.op in ("call_module", "get_attr")]


def _ordered(backbone: Backbone, names: Collection[str]) -> list[str]:
    every = dict.fromkeys(name for unit in range(len(backbone.units)) for name in _used(backbone, unit))
    return [name for name in every if name in names]


def _outermost(name: str, outside: Iterable[str]) -> str:
    """Return the outermost module around a name that holds nothing of the others."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        outer = ".".join(parts[:end])
        if not any(other == outer or other.startswith(f"{outer}.") for other in outside):
            return outer
    return name


def build_arguments(spec: BackboneSpec, weights: str | None) -> dict[str, Any]:
    """Return the keyword arguments that build the network, besides its weights."""
    return model_source(spec.name).arguments(spec.image_size, weights)


def find_weights(backbone: Backbone, spec: BackboneSpec) -> WeightsSource | None:
    """Find the tensors of a weights file; None for published weights or none.

    Raises:
        InvalidInputError: The file names the network's tensors in another way than by a common prefix.
    """
    if spec.weights == "none" or not is_weights_file(spec.weights):
        return None
    path = weights_path(spec.weights)
    own = backbone.model.state_dict()
    needed = [name for names in backbone.unit_tensors().values() for name in names if name in own]
    needed = [name for name in needed if not name.endswith("num_batches_tracked")]
    for where, tensors in read_mappings(path).items():
        for prefix in {name[: -len(needed[0])] for name in tensors if name.endswith(needed[0])}:
            if all(_equal(tensors.get(f"{prefix}{name}"), own[name]) for name in needed):
                return WeightsSource(str(path), tuple(filter(None, where.split("."))), prefix)
    raise InvalidInputError(
        f"the weights file {path.name} names the network's tensors in another way than torchvision, or lacks some"
    )


def _equal(found: Tensor | None, own: Tensor) -> bool:
    return found is not None and found.shape == own.shape and torch.equal(found.to(own.dtype), own)
