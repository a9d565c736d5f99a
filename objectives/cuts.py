"""Cutting a network into segments at any place where all that follows depends on one tensor.

The network is traced into a graph (torch.fx). A value is *live* after a node if it was computed up to there and is
read later. Where exactly one value is live, the graph falls into a prefix that computes it and a suffix that needs
nothing else: the classic live-variable analysis of compilers, here over a straight line of nodes. No family of models
needs a rule of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

# Of the recorded forward. Odd and above 1, so that a tensor with one row per image is told from one that merely
# has 1 or 2 rows.
_BATCH = 3


@dataclass(frozen=True)
class Cut:
    """A place between two nodes of a traced network where one tensor carries everything.

    Attributes:
        position: Index of the last node before the cut.
        value: Name of the node whose result is the tensor.
        shape: Of the tensor, without the batch dimension.
        flops: Of everything up to the cut, per image; a multiply-add counts 2.
    """

    position: int
    value: str
    shape: tuple[int, ...]
    flops: int


class _Tracer(fx.Tracer):
    """Traces into every module but those of torch.nn and those that ask for their mode.

    A module that reads ``self.training`` would be traced in one mode for ever; kept whole it follows ``train()``.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        code = getattr(type(m).forward, "__code__", None)
        reads_mode = code is not None and "training" in code.co_names
        return reads_mode or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.GraphModule:
    """The graph of a model with one input; modules, parameters and buffers are shared with the model.

    Each node knows the modules that it was traced in (:func:`module_path`).
    """
    traced = fx.GraphModule(model, _Tracer().trace(model), type(model).__name__)
    return traced.train(model.training)


def module_path(node: fx.Node) -> str:
    """Name of the innermost module that a node belongs to; ``""`` is the root."""
    stack = node.meta.get("nn_module_stack", {})
    return list(stack.values())[-1][0] if stack else ""


def live_values(graph: fx.Graph) -> Iterator[set[fx.Node]]:
    """For each node in order, the values computed up to and including it that later nodes read.

    ``get_attr`` nodes (parameters, buffers) are never live: whoever needs one fetches it again.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    last_use = {node: max((order[user] for user in node.users), default=-1) for node in order}
    live: set[fx.Node] = set()
    for node, index in order.items():
        if node.op != "get_attr":
            live.add(node)
        live = {value for value in live if last_use[value] > index}
        yield live


def find_cuts(traced: fx.GraphModule, image_size: int) -> list[Cut]:
    """All cuts in the order of execution; the first is the input, the last the output of the model.

    A tensor qualifies if it has one row per image and nothing after the cut writes to it (in-place activations do),
    so it may be stored and used again. Both are observed in one recorded forward on fake tensors, which computes
    shapes and floating-point operations but no numbers.

    Args:
        traced: Of :func:`trace`; takes (N, 3, image_size, image_size).
        image_size: Pixels.

    Raises:
        RuntimeError: The model cannot take images of this size.
    """
    record = _record(traced, image_size)
    cuts: dict[fx.Node, Cut] = {}
    for position, live in enumerate(live_values(traced.graph)):
        if len(live) != 1:
            continue
        (value,) = live
        tensor, version = record.tensors.get(value, (None, 0))
        if value not in cuts and tensor is not None and tensor.shape[:1] == (_BATCH,) and tensor._version == version:
            shape = tuple(tensor.shape[1:])
            cuts[value] = Cut(position, value.name, shape, record.flops[position] // _BATCH)
    return list(cuts.values())


def segment(traced: fx.GraphModule, start: Cut, stop: Cut) -> fx.GraphModule:
    """The part of a network between two cuts: takes the tensor at ``start``, returns the one at ``stop``.

    It holds exactly the modules, parameters and buffers that it uses, under their names in the model and shared with
    it, not copied. Making it changes the mode of none of them.

    Args:
        traced: Of :func:`trace`.
        start: Of :func:`find_cuts`; the first one is the input of the model.
        stop: At or after ``start``; the last one is the output of the model.
    """
    nodes = list(traced.graph.nodes)
    graph = fx.Graph()
    by_name = {node.name: node for node in nodes}
    copies = {by_name[start.value]: graph.placeholder("x")}

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copies and node.op == "get_attr":
            copies[node] = graph.node_copy(node)
        return copies[node]

    for node in nodes[start.position + 1 : stop.position + 1]:
        if node.op != "get_attr":
            copies[node] = graph.node_copy(node, copy_of)
    graph.output(copy_of(by_name[stop.value]))
    part = fx.GraphModule(traced, graph, "Segment")
    for module in part.modules():
        # Only the empty containers that fx makes for dotted names: the others are shared and keep their mode.
        if type(module) is nn.Module:
            module.training = traced.training
    return part


class _Recorder(fx.Interpreter):
    """Runs a graph and notes every tensor with its version when it was made, and the operations so far."""

    def __init__(self, traced: fx.GraphModule, counter: FlopCounterMode) -> None:
        super().__init__(traced)
        self.counter = counter
        self.tensors: dict[fx.Node, tuple[torch.Tensor, int]] = {}
        self.flops: list[int] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.tensors[n] = (result, result._version)
        self.flops.append(self.counter.get_total_flops())
        return result


def _record(traced: fx.GraphModule, image_size: int) -> _Recorder:
    training, fastpath = traced.training, torch.backends.mha.get_fastpath_enabled()
    counter = FlopCounterMode(display=False)
    recorder = _Recorder(traced.eval(), counter)
    # The fused attention of torch is one opaque operation to the counter.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), counter:
            recorder.run(torch.empty(_BATCH, 3, image_size, image_size))
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        traced.train(training)
    return recorder
