"""Exponential moving average of the trained weights, which is validated and kept in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ..networks import Network


class WeightAverage:
    """The average of all tensors that training changes: trainable parameters, and statistics of batch norms in
    training.

    The decay rises to its value as (1 + t) / (10 + t), so that the first steps are soon forgotten (TensorFlow's
    ``ExponentialMovingAverage``). Frozen tensors are never averaged (contract C1).

    Args:
        network: Network to average.
        decay: Weight of the past at each step, in [0, 1).
    """

    def __init__(self, network: Network, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._live: list[Tensor] = []
        self._average: list[Tensor] = []
        self.extend(network)

    def extend(self, network: Network) -> None:
        """Add the further tensors of the next phase."""
        known = {id(tensor) for tensor in self._live}
        new = [tensor for tensor in network.updated_tensors() if id(tensor) not in known]
        self._live += new
        self._average += [tensor.detach().clone() for tensor in new]

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._average, self._live, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def state(self) -> dict[str, Tensor]:
        """Tensors to resume from."""
        steps = torch.tensor(self._steps)
        return {"steps": steps, **{str(place): tensor for place, tensor in enumerate(self._average)}}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what :meth:`state` returned."""
        self._steps = int(state["steps"])
        _copy(self._average, [state[str(place)].to(tensor.device) for place, tensor in enumerate(self._average)])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the network computes with the average."""
        kept = [tensor.detach().clone() for tensor in self._live]
        _copy(self._live, self._average)
        try:
            yield
        finally:
            _copy(self._live, kept)


@torch.no_grad()
def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    torch._foreach_copy_(targets, sources)  # pyright: ignore[reportPrivateImportUsage]
