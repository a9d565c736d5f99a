"""Pairs of modules in a traced network, replaced by one module that computes the same with fewer operations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any

from torch import fx, nn

Kinds = Collection[type[nn.Module]]


def merge_pairs(
    network: fx.GraphModule,
    kinds: tuple[Kinds, Kinds],
    merge: Callable[[Any, Any], nn.Module],
    merges: Callable[[Any, Any], bool],
) -> fx.GraphModule:
    """Return a network with pairs replaced of a module and the one after it; it shares all other modules.

    Args:
        network: A traced network, which stays as it is.
        kinds: Classes of the first and of the second module; subclasses may do more, and modules with hooks too.
        merge: Makes a module of a pair.
        merges: Whether a pair is to be replaced.
    """
    graph, parts = _copy(network)
    for second in [node for node in graph.nodes if _calls(node, kinds[1], parts)]:
        (first,) = second.all_input_nodes
        if not _calls(first, kinds[0], parts) or len(first.users) > 1:
            continue
        if not merges(parts[first.target], parts[second.target]):
            continue
        # Under a new name: the graph may use the module elsewhere, too.
        name = f"{first.name}_with_{second.name}"
        parts[name] = merge(parts[first.target], parts[second.target])
        first.target = name
        second.replace_all_uses_with(first)
        graph.erase_node(second)
    return fx.GraphModule(parts, graph, type(network).__name__)


def replace_each(network: fx.GraphModule, kinds: Kinds, replace: Callable[[Any], nn.Module]) -> fx.GraphModule:
    """Return a network with modules of some classes replaced, one by one; it shares all others."""
    graph, parts = _copy(network)
    parts |= {name: replace(part) for name, part in parts.items() if type(part) in kinds and not _hooked(part)}
    return fx.GraphModule(parts, graph, type(network).__name__)


def _copy(network: fx.GraphModule) -> tuple[fx.Graph, dict[Any, Any]]:
    """Return a copy of a network's graph, and the modules and tensors that it uses, by name."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(network.graph, {}))
    used = [node.target for node in graph.nodes if node.op in ("call_module", "get_attr")]
    return graph, {name: attrgetter(name)(network) for name in used}


def _calls(node: Any, kinds: Kinds, parts: dict[Any, Any]) -> bool:
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return False
    part = parts[node.target]
    return type(part) in kinds and not _hooked(part)


def _hooked(part: nn.Module) -> bool:
    return bool(part._forward_pre_hooks or part._forward_hooks)
