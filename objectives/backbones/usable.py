"""What a network of the user's must be, before anything runs it: plain layers with values that can train."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidInputError


def require_usable(model: nn.Module, name: str) -> None:
    """Refuse a network that can be neither cut nor trained; others are cast to float32, in which everything trains.

    Args:
        model: Network as its factory returned it, changed in place.
        name: Name of the network, for messages.

    Raises:
        InvalidInputError: It is compiled or quantized, or a weight has no values or cannot train.
    """
    fault = next(_faults(model), None)
    if fault is not None:
        raise InvalidInputError(f"{name} returns {fault}")
    if any(value.is_floating_point() and value.dtype != torch.float32 for value in _tensors(model).values()):
        model.float()


def _faults(model: nn.Module) -> Iterator[str]:
    kind = f"{type(model).__module__}.{type(model).__name__}"
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"a network with a TorchScript module ({path})" if path else "a TorchScript module"
            yield f"{where}, which cannot be cut. Return the network that it was made from."
    if kind == "torch._dynamo.eval_frame.OptimizedModule":
        yield "a compiled module, which cannot be cut. Return the network itself, without torch.compile."
    for path, module in model.named_modules():
        if ".quantized" in type(module).__module__:
            yield (
                f"a quantized network ({path} is a {type(module).__name__}), whose weights cannot train. "
                "Return the network from before it was quantized."
            )
    for path, value in _tensors(model).items():
        if nn.parameter.is_lazy(value):
            yield (
                f"a network with lazy layers: {path} has no shape yet. Run it once in the factory, "
                "on torch.zeros(1, 3, 64, 64)."
            )
        elif value.is_meta:
            yield f"a network on the meta device: {path} has no values. Build it on the CPU."
        elif value.is_inference():
            yield f"a network made in torch.inference_mode(): {path} cannot train. Build it outside of that mode."


def _tensors(model: nn.Module) -> dict[str, Any]:
    named: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return named
