"""Grouping the cuts of a network into block-level units, named as in the model.

What counts as a block follows from the module tree alone: a *weight* is a parameter of two or more dimensions, and a
module with more than one weight that is not a mere container is a block (a residual block, a Fire, a transformer
layer). Containers of blocks are divided, blocks stay whole, and what has no weight (norms, activations, pooling,
functions) belongs to the unit before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import fx, nn

from .cuts import Cut, module_path, segment


@dataclass(frozen=True)
class Unit:
    """One block of a backbone, at whose end the backbone can be cut.

    Attributes:
        name: Of the module, as in ``model.named_modules()``.
        kind: Class of the module.
        parameters: Number of parameters, with those of the norms attached to it.
        flops: Of its forward per image; a multiply-add counts 2.
        output_shape: Of its result, without the batch dimension.
    """

    name: str
    kind: str
    parameters: int
    flops: int
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class _Part:
    """A module that is not divided, with the span of graph nodes that run it."""

    name: str
    first: int
    last: int


def divide(model: nn.Module, path: str = "") -> Iterator[str]:
    """Names of the modules that are not divided further, in the order of the module tree; the root always is.

    Args:
        model: The root.
        path: Where to start; the whole tree by default.
    """
    for name, child in model.get_submodule(path).named_children():
        name = f"{path}.{name}" if path else name
        if _is_divided(child):
            yield from divide(model, name)
        else:
            yield name


def group(traced: fx.GraphModule, model: nn.Module, cuts: list[Cut]) -> tuple[list[Unit], list[Cut]]:
    """Divide the backbone of a model into units.

    The backbone ends at the last feature map (N, C, H, W) before global pooling; where there is none (a class token)
    at the last cut before the classifier, which is the top-level module that holds the last weights.

    Args:
        traced: The graph of the model.
        model: The model itself, whose classes the units are named after.
        cuts: All cuts of ``traced``.

    Returns:
        The n units and the n + 1 cuts around them: the input, then the end of each unit.
    """
    parts = _weighted_parts(traced, model)
    top = parts[-1].name.split(".")[0]
    body = [part for part in parts if part.name.split(".")[0] != top]
    end = _backbone_end(traced, cuts, top)
    names, bounds = [body[0].name], [cuts[0]]
    for index, part in enumerate(body[1:], start=1):
        reach = max(before.last for before in body[:index])
        between = [cut for cut in cuts if reach <= cut.position < part.first]
        if between:
            names.append(part.name)
            bounds.append(between[-1])
    bounds.append(end)
    units = [_unit(traced, model, name, *pair) for name, pair in zip(names, pairwise(bounds), strict=True)]
    return units, bounds


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
    # A module with a forward of its own is a block, unless it runs a list of blocks.
    lists = [child for child in module.children() if isinstance(child, nn.Sequential | nn.ModuleList)]
    return any(sum(map(_is_block, child)) > 1 for child in lists)


def _weighted_parts(traced: fx.GraphModule, model: nn.Module) -> list[_Part]:
    """The undivided modules with weights in the order of execution."""
    names = {name for name in divide(model) if _weights(model.get_submodule(name))}
    spans: dict[str, list[int]] = {}
    for position, node in enumerate(traced.graph.nodes):
        path = module_path(node).split(".")
        for depth in range(1, len(path) + 1):
            name = ".".join(path[:depth])
            if name in names:
                spans.setdefault(name, []).append(position)
    return [_Part(name, positions[0], positions[-1]) for name, positions in spans.items()]


def _backbone_end(traced: fx.GraphModule, cuts: list[Cut], top: str) -> Cut:
    """The last feature map before global pooling and the classifier ``top``, else the last cut before ``top``."""
    nodes = list(traced.graph.nodes)
    stop = next(index for index, node in enumerate(nodes) if module_path(node).split(".")[0] == top)
    start = max(index for index, node in enumerate(nodes[:stop]) if _has_parameters(traced, node))
    pooled = next((index for index in range(start, stop) if _pools(traced, nodes[index])), stop)
    maps = [cut for cut in cuts if start <= cut.position < pooled and len(cut.shape) == 3]
    return maps[-1] if maps else [cut for cut in cuts if cut.position < stop][-1]


def _has_parameters(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(True for _ in traced.get_submodule(str(node.target)).parameters())
    return node.op == "get_attr"


def _pools(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node reduces a map of any size to a fixed one."""
    if node.op == "call_module":
        name = type(traced.get_submodule(str(node.target))).__name__
    else:
        name = getattr(node.target, "__name__", str(node.target))
    return name == "mean" or "adaptive" in name.lower()


def _unit(traced: fx.GraphModule, model: nn.Module, name: str, start: Cut, stop: Cut) -> Unit:
    return Unit(
        name=name,
        kind=type(model.get_submodule(name)).__name__,
        parameters=sum(parameter.numel() for parameter in segment(traced, start, stop).parameters()),
        flops=stop.flops - start.flops,
        output_shape=stop.shape,
    )
