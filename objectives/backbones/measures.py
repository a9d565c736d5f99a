"""Measures of a network's nodes: shapes, operations, and what is written to, observed in one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils.flop_counter import FlopCounterMode

_KEY = "measure"


@dataclass(frozen=True)
class Measure:
    """What was observed of one node.

    Attributes:
        shape: Shape of its tensor; None if it gives something else.
        flops: Floating-point operations up to it, of all images; a multiply-add counts 2.
        is_written: Whether a later operation writes to its tensor.
    """

    shape: tuple[int, ...] | None
    flops: int
    is_written: bool


class Measurer:
    """Runs the nodes of one forward in order."""

    def __init__(self) -> None:
        self._counter = FlopCounterMode(display=False)
        self._flops = 0
        self._seen: dict[fx.Node, tuple[Any, int, int]] = {}

    def run(self, node: fx.Node, compute: Callable[[], Any]) -> Any:
        """What ``compute`` gives as the value of a node."""
        with self._counter:
            value = compute()
        self._flops += self._counter.get_total_flops()
        self._seen[node] = value, _version(value), self._flops
        return value

    def keep(self) -> None:
        """Keep the measures with their nodes, after the last of them."""
        for node, (value, version, flops) in self._seen.items():
            shape = tuple(value.shape) if isinstance(value, Tensor) else None
            node.meta[_KEY] = Measure(shape, flops, _version(value) != version)


def measure_of(node: fx.Node) -> Measure | None:
    """The measure of a node; None if it was not run."""
    return node.meta.get(_KEY)


@contextmanager
def countable_attention() -> Iterator[None]:
    """The counter of operations cannot see into torch's fused attention."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) else 0
