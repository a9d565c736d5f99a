"""Units: the cuts of a network grouped into blocks, named as in the model.

Blocks follow from the module tree alone: a *weight* is a parameter of two or more dimensions, and a module with more
than one weight that is not a mere container is a block (a residual block, a Fire module, a transformer layer).
Containers of blocks are divided, blocks stay whole, and everything without weights (norms, activations, pooling,
functions) belongs to the unit before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import fx, nn

from ..errors import InvalidInputError
from .cuts import Cut, module_path, segment


@dataclass(frozen=True)
class Unit:
    """One block of a backbone, after which the backbone can be cut.

    Attributes:
        name: Name of the module, as in ``model.named_modules()``.
        kind: Class name of the module.
        parameters: Number of parameters, with those of the attached norms.
        flops: Floating-point operations of its forward, per image; a multiply-add counts 2.
        output_shape: Shape of its output without the batch dimension.
    """

    name: str
    kind: str
    parameters: int
    flops: int
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class _Part:
    """An undivided module, with the span of graph nodes that run it."""

    name: str
    first: int
    last: int


def divide(model: nn.Module, path: str | None = None) -> Iterator[str]:
    """Names of the modules that are not divided further, in the order of the module tree; the root is always divided.

    Args:
        model: Root module.
        path: Name of the module to start in; None starts inside modules that merely wrap another one.

    Example:
        >>> from torch import nn
        >>> from frostline.objectives.backbones.units import divide
        >>> list(divide(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2))))
        ['0', '1', '2']
    """
    path = _core(model) if path is None else path
    for name, child in model.get_submodule(path).named_children():
        name = f"{path}.{name}" if path else name
        if _is_divided(child):
            yield from divide(model, name)
        else:
            yield name


def group(traced: fx.GraphModule, model: nn.Module, cuts: list[Cut]) -> tuple[list[Unit], list[Cut]]:
    """Divide the backbone of a model into units.

    The backbone ends at the last feature map (N, C, H, W) before global pooling; without one (class tokens) at the last
    cut before the classifier, which is the module with the last weights if these are linear and give the output. A
    model without a classifier is a backbone as a whole, or up to its last map if it pools that map.

    Args:
        traced: Trace of the model.
        model: The model itself; units are named after its modules.
        cuts: All cuts of ``traced``.

    Returns:
        The n units and the n + 1 cuts around them: the input, then the end of each unit.

    Raises:
        InvalidInputError: There is no cut between the first weights and the classifier.
    """
    parts = _weighted_parts(traced, model)
    stop = _classifier_start(traced, model, parts, cuts)
    end = _backbone_end(traced, cuts, stop)
    body = [part for part in parts if part.first <= end.position]
    if not body or end.position == cuts[0].position:
        raise InvalidInputError(
            f"{type(model).__name__} cannot be cut: between its input and its classifier there is no point "
            "where a single tensor carries all data, with weights before it."
        )
    names, bounds = [body[0].name], [cuts[0]]
    for index, part in enumerate(body[1:], start=1):
        reach = max(before.last for before in body[:index])
        between = [cut for cut in cuts if reach <= cut.position < part.first]
        if between:
            names.append(part.name)
            bounds.append(between[-1])
    bounds.append(end)
    units = [describe_unit(traced, model, name, *pair) for name, pair in zip(names, pairwise(bounds), strict=True)]
    return units, bounds


def _core(model: nn.Module, path: str = "") -> str:
    children = list(model.named_children())
    if len(children) == 1 and (len(list(children[0][1].children())) == 1 or _is_divided(children[0][1])):
        name, child = children[0]
        return _core(child, f"{path}.{name}" if path else name)
    return path


def _weights(module: nn.Module) -> int:
    return sum(parameter.ndim >= 2 for parameter in module.parameters())


def _is_block(module: nn.Module) -> bool:
    return type(module) not in (nn.Sequential, nn.ModuleList) and _weights(module) > 1


def _is_divided(module: nn.Module) -> bool:
    if isinstance(module, nn.Sequential):
        holds_blocks = any(_is_block(inner) for inner in module.modules() if inner is not module)
        return holds_blocks or (type(module) is nn.Sequential and _weights(module) > 1)
    if isinstance(module, nn.ModuleList):
        return True
    # A module with its own forward is a block, unless it runs a list of blocks.
    lists = [child for child in module.children() if isinstance(child, nn.Sequential | nn.ModuleList)]
    return any(sum(map(_is_block, child)) > 1 for child in lists)


def _weighted_parts(traced: fx.GraphModule, model: nn.Module) -> list[_Part]:
    """The undivided modules with weights, in the order of execution."""
    names = {name for name in divide(model) if _weights(model.get_submodule(name))}
    spans: dict[str, list[int]] = {}
    for position, node in enumerate(traced.graph.nodes):
        name = _part_name(node, names, model)
        if name is not None:
            spans.setdefault(name, []).append(position)
    return [_Part(name, positions[0], positions[-1]) for name, positions in spans.items()]


def _part_name(node: fx.Node, names: set[str], model: nn.Module) -> str | None:
    path = module_path(node).split(".")
    for depth in range(1, len(path) + 1):
        if ".".join(path[:depth]) in names:
            return ".".join(path[:depth])
    # A module that the graph keeps whole is a part even if it holds blocks.
    whole = node.op == "call_module" and _weights(model.get_submodule(str(node.target))) > 0
    return str(node.target) if whole else None


def _classifier_start(traced: fx.GraphModule, model: nn.Module, parts: list[_Part], cuts: list[Cut]) -> int:
    """Index of the classifier's first node, or past the last node if the model has no classifier."""
    nodes = list(traced.graph.nodes)
    last = max(parts, key=lambda part: part.last, default=None)
    if last is None or len(cuts[-1].shape) != 1 or not _is_linear(model.get_submodule(last.name)):
        return len(nodes)
    weighted = [index for index in range(last.first, len(nodes)) if _has_parameters(traced, nodes[index])]
    if not _is_linear_node(traced, nodes[weighted[-1]]):
        return len(nodes)
    name = last.name
    while "." in name and _is_linear(model.get_submodule(name.rpartition(".")[0])):
        name = name.rpartition(".")[0]
    return next(index for index, node in enumerate(nodes) if f"{module_path(node)}.".startswith(f"{name}."))


def _is_linear(module: nn.Module) -> bool:
    """Whether all weights of a module belong to linear layers."""
    return all(_is_linear_layer(inner) or not _own_weights(inner) for inner in module.modules())


def _own_weights(module: nn.Module) -> bool:
    return any(parameter.ndim >= 2 for parameter in module.parameters(recurse=False))


def _is_linear_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def _is_linear_node(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op != "call_module":
        return False
    inside = traced.get_submodule(str(node.target)).modules()
    weighted = [module for module in inside if list(module.parameters(recurse=False))]
    return _is_linear_layer(weighted[-1])


def _backbone_end(traced: fx.GraphModule, cuts: list[Cut], stop: int) -> Cut:
    """The last feature map before global pooling and the classifier at ``stop``, else the last cut before ``stop``."""
    nodes = list(traced.graph.nodes)
    start = max((index for index, node in enumerate(nodes[:stop]) if _has_parameters(traced, node)), default=stop)
    pooled = next((index for index in range(start, stop) if _pools(traced, nodes[index])), stop)
    maps = [cut for cut in cuts if start <= cut.position < pooled and is_map(cut.shape)]
    # Pooling by a kernel as large as the map cannot be told by its name.
    unpooled = [cut for cut in maps if cut.shape[1] > 1] or maps
    return unpooled[-1] if unpooled else [cut for cut in cuts if cut.position < stop][-1]


def is_map(shape: tuple[int, ...]) -> bool:
    """Whether features have shape (C, H, W): square like the images, with the channels first.

    >>> from frostline.objectives.backbones import is_map
    >>> is_map((512, 7, 7)), is_map((7, 7, 512)), is_map((197, 768))
    (True, False, False)
    """
    return len(shape) == 3 and shape[1] == shape[2]


def _has_parameters(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(True for _ in traced.get_submodule(str(node.target)).parameters())
    return node.op == "get_attr"


def _pools(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node reduces a map of any size to a fixed size."""
    if node.op == "call_module":
        name = type(traced.get_submodule(str(node.target))).__name__
    else:
        name = getattr(node.target, "__name__", str(node.target))
    return name == "mean" or "adaptive" in name.lower()


def describe_unit(traced: fx.GraphModule, model: nn.Module, name: str, start: Cut, stop: Cut) -> Unit:
    """The unit between two cuts."""
    return Unit(
        name=name,
        kind=type(model.get_submodule(name)).__name__,
        parameters=sum(parameter.numel() for parameter in segment(traced, start, stop).parameters()),
        flops=stop.flops - start.flops,
        output_shape=stop.shape,
    )
