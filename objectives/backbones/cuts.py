"""Cuts: points of a network where a single tensor carries all data.

The network is traced into a graph. A value is *live* after a node if it was computed up to that node and is read later.
Where exactly one value is live, the graph splits into a prefix that computes it and a suffix that needs nothing else:
the live-variable analysis of compilers, over a straight line of nodes. Values that any segment can compute for itself
(constants, the batch size) are never live. No model family needs its own rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..preprocessing import RGB
from .measures import Measurer, countable_attention, measure_of
from .shape_tracer import BATCHES
from .trace_notes import notes_of

# Batch size of the measured forward.
_BATCH = BATCHES[0]


@dataclass(frozen=True)
class Cut:
    """A point between two nodes of a traced network where a single tensor carries all data.

    Attributes:
        position: Index of the last node before the cut.
        value: Name of the node that computes the tensor.
        shape: Shape of the tensor without the batch dimension.
        flops: Floating-point operations up to the cut, per image; a multiply-add counts 2.
    """

    position: int
    value: str
    shape: tuple[int, ...]
    flops: int


def module_path(node: fx.Node) -> str:
    """Name of the innermost module that a node belongs to; ``""`` is the root."""
    stack = node.meta.get("nn_module_stack", {})
    return list(stack.values())[-1][0] if stack else ""


def live_values(graph: fx.Graph, free: Collection[fx.Node] = ()) -> Iterator[set[fx.Node]]:
    """For each node in order, the values computed up to and including it that later nodes read.

    ``get_attr`` nodes (parameters, buffers) are never live, since each segment reads them itself; nor are ``free``
    nodes.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    last_use = {node: max((order[user] for user in node.users), default=-1) for node in order}
    live: set[fx.Node] = set()
    for node, index in order.items():
        if node.op != "get_attr" and node not in free:
            live.add(node)
        live = {value for value in live if last_use[value] > index}
        yield live


def free_values(traced: fx.GraphModule) -> set[fx.Node]:
    """The nodes that any segment can compute for itself: the batch size, and values that depend on buffers alone."""
    free: set[fx.Node] = set()
    for node in traced.graph.nodes:
        constant = node.op in ("call_function", "call_method", "get_attr") and free.issuperset(node.all_input_nodes)
        fixed = constant and not _parameters(traced, node) and not any(map(_writes, [node, *node.users]))
        if fixed or node.meta.get("is_batch_size"):
            free.add(node)
    return free


def _writes(node: fx.Node) -> bool:
    """Whether an operation changes its input, by torch's naming convention."""
    name = str(getattr(node.target, "__name__", node.target))
    return name == "setitem" or (name.endswith("_") and not name.endswith("__"))


def _parameters(traced: fx.GraphModule, node: fx.Node) -> list[nn.Parameter]:
    """The parameters that a node itself uses or reads."""
    if node.op == "call_module":
        return list(traced.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        *path, name = str(node.target).split(".")
        value = getattr(traced.get_submodule(".".join(path)), name)
        return [value] if isinstance(value, nn.Parameter) else []
    return []


def _shared_spans(traced: fx.GraphModule) -> list[tuple[int, int]]:
    """First and last use of parameters that are used more than once: a cut between would both freeze and train them."""
    uses: dict[nn.Parameter, list[int]] = {}
    for position, node in enumerate(traced.graph.nodes):
        for source in (node, *node.all_input_nodes):
            if source is node or source.op == "get_attr":
                for parameter in _parameters(traced, source) if node.op != "get_attr" else []:
                    uses.setdefault(parameter, []).append(position)
    return [(places[0], places[-1]) for places in uses.values() if places[0] < places[-1]]


def find_cuts(traced: fx.GraphModule, image_size: int, channels: int = RGB) -> list[Cut]:
    """All cuts in the order of execution; the first is the input of the model, the last its output.

    A tensor qualifies if it has one row per image and nothing after the cut writes to it (in-place activations do), so
    it can be stored and reused. Both are observed while the network is traced, on fake tensors, which have shapes and
    count floating-point operations but hold no data; in a forward with real data only where control flow needs it,
    which the trace's notes then say. Parameters that are used more than once stay on one side.

    Args:
        traced: Trace of the model, from :func:`~frostline.objectives.backbones.tracing.trace`.
        image_size: Side of the images that it was traced for, pixels.
        channels: Number of their channels.

    Raises:
        RuntimeError: The model cannot take images of this size.

    Example:
        >>> from torch import nn
        >>> from frostline.objectives.backbones.cuts import find_cuts
        >>> from frostline.objectives.backbones.tracing import trace
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
        >>> [(cut.value, cut.shape) for cut in find_cuts(trace(model, 8), 8)]
        [('input_1', (3, 8, 8)), ('_0', (4, 6, 6)), ('_1', (144,)), ('_2', (2,))]
    """
    if notes_of(traced).real_data:
        _measure(traced, (channels, image_size, image_size))
    shared = _shared_spans(traced)
    cuts: dict[fx.Node, Cut] = {}
    flops = 0
    for position, (node, live) in enumerate(
        zip(traced.graph.nodes, live_values(traced.graph, free_values(traced)), strict=True)
    ):
        measure = measure_of(node)
        flops = flops if measure is None else measure.flops
        if len(live) != 1 or any(first <= position < last for first, last in shared):
            continue
        (value,) = live
        found = measure_of(value)
        if value not in cuts and found and found.shape and found.shape[0] == _BATCH and not found.is_written:
            cuts[value] = Cut(position, value.name, found.shape[1:], flops // _BATCH)
    return list(cuts.values())


def segment(traced: fx.GraphModule, start: Cut, stop: Cut, *earlier: Cut) -> fx.GraphModule:
    """The part of a network between two cuts: takes the tensor at ``start``, returns the tensor at ``stop``.

    With earlier cuts, it returns a tuple: the tensors at these, then the one at ``stop``.

    It holds exactly the modules, parameters and buffers that it uses, under their names in the model; they are shared
    with the model, not copied, and keep their mode.

    Args:
        traced: Trace of the model, from :func:`~frostline.objectives.backbones.tracing.trace`.
        start: A cut of :func:`find_cuts`; the first one is the input of the model.
        stop: A cut at or after ``start``; the last one is the output of the model.
        earlier: Cuts between the two.
    """
    nodes = list(traced.graph.nodes)
    graph = fx.Graph()
    by_name = {node.name: node for node in nodes}
    given, free = graph.placeholder("x"), free_values(traced)
    copies = {by_name[start.value]: given}

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copies and node.meta.get("is_batch_size"):
            copies[node] = graph.call_method("size", (given, 0))
        elif node not in copies and (node.op == "get_attr" or node in free):
            copies[node] = graph.node_copy(node, copy_of)
        return copies[node]

    for node in nodes[start.position + 1 : stop.position + 1]:
        if node.op != "get_attr" and node not in free:
            copies[node] = graph.node_copy(node, copy_of)
    given_back = tuple(copy_of(by_name[cut.value]) for cut in (*earlier, stop))
    graph.output(given_back if earlier else given_back[0])
    part = fx.GraphModule(traced, graph, "Segment")
    for module in part.modules():
        # Only the empty containers that fx creates for dotted names: all others are shared and keep their mode.
        if type(module) is nn.Module:
            module.training = traced.training
    return part


class _Interpreter(fx.Interpreter):
    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.measurer = Measurer()

    def run_node(self, n: fx.Node) -> Any:
        return self.measurer.run(n, lambda: super(_Interpreter, self).run_node(n))


@torch.no_grad()
def _measure(traced: fx.GraphModule, shape: tuple[int, ...]) -> None:
    """Measure with real data what cannot run on fake tensors, such as control flow that depends on the data."""
    training = traced.training
    traced.eval()
    try:
        with countable_attention():
            interpreter = _Interpreter(traced)
            interpreter.run(torch.zeros(_BATCH, *shape))
    finally:
        traced.train(training)
    interpreter.measurer.keep()
