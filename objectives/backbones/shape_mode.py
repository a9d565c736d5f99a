"""Fake tensors without data: networks run on them for their shapes alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_LOG = logging.getLogger("torch._subclasses.fake_tensor")


class ShapeMode:
    """torch's fake tensors as a context, quicker for networks in evaluation mode; it can be entered again and again.

    torch computes a norm on fake tensors as twenty small operations; here it gives a tensor like its input. And torch
    remembers results of fake tensors only, so parameters, which all layers have, become fake before they are used.
    """

    def __init__(self) -> None:
        self._modes = _FakeParameters(allow_non_fake_inputs=True), _Norms()

    def __enter__(self) -> None:
        # What cannot be computed is noted or refused in a sentence; torch would print a traceback as well.
        _LOG.disabled = True
        for mode in self._modes:
            mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)
        _LOG.disabled = False


class _FakeParameters(FakeTensorMode):
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, object] = {}
    ) -> Any:
        args = [self.from_tensor(each) if isinstance(each, nn.Parameter) else each for each in args]
        return super().__torch_dispatch__(func, types, args, kwargs)


class _Norms(TorchFunctionMode):
    """Norms that change no shape give a tensor like their input; all else runs as usual."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FITS and _FITS[func](*args, **kwargs):
            return torch.empty_like(args[0])
        return func(*args, **kwargs)


def _fits_batch_norm(
    input: Tensor, mean: Tensor | None, var: Tensor | None, *rest: Any, training: bool = False, **_: Any
) -> bool:
    """Whether a batch norm uses statistics that it is given, of as many channels as its input has."""
    training = rest[2] if len(rest) > 2 else training
    return mean is not None and not training and input.shape[1:2] == mean.shape


def _fits_layer_norm(input: Tensor, normalized_shape: Sequence[int], *_: Any, **__: Any) -> bool:
    return tuple(input.shape[-len(normalized_shape) :]) == tuple(normalized_shape)


# Calls that torch would refuse, and batch norms that compute statistics, run as usual.
_FITS: dict[Callable[..., Any], Callable[..., bool]] = {
    F.batch_norm: _fits_batch_norm,
    F.layer_norm: _fits_layer_norm,
}
