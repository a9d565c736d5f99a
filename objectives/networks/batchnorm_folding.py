"""Batch-norm folding: batch norms in evaluation mode, merged into the convolutions before them."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(network: nn.Module) -> nn.Module:
    """A network's function in evaluation mode, with fewer operations: equal up to rounding.

    In evaluation mode a batch norm scales and shifts, which weights and bias of a convolution can do at no cost (Jacob
    et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section
    3.2). Unchanged modules are shared with the network; folded weights are copies and do not follow it.

    Args:
        network: A traced network; any other module is returned as it is. Modules in training mode are not folded.
    """
    if not isinstance(network, fx.GraphModule):
        return network
    graph = fx.Graph()
    graph.output(graph.graph_copy(network.graph, {}))
    parts: dict[Any, Any] = {
        node.target: attrgetter(node.target)(network) for node in graph.nodes if node.op in ("call_module", "get_attr")
    }
    for norm in [node for node in graph.nodes if _calls(node, _NORMS, parts)]:
        (before,) = norm.all_input_nodes
        if not _calls(before, _CONVOLUTIONS, parts) or len(before.users) > 1 or parts[norm.target].running_mean is None:
            continue
        # Under a new name: the graph may use the module elsewhere, too.
        name = f"{before.name}_with_{norm.name}"
        parts[name] = fuse_conv_bn_eval(parts[before.target], parts[norm.target])
        before.target = name
        norm.replace_all_uses_with(before)
        graph.erase_node(norm)
    return fx.GraphModule(parts, graph, type(network).__name__)


def _calls(node: Any, kinds: Collection[type[nn.Module]], parts: dict[Any, Any]) -> bool:
    """Whether a node calls a module in evaluation mode of exactly one of these classes: subclasses may do more."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return False
    part = parts[node.target]
    return type(part) in kinds and not (part.training or part._forward_pre_hooks or part._forward_hooks)
