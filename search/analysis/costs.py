"""What a strategy costs its users: the time of a training, and latency and size of the trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ..records import FinalScores


@dataclass(frozen=True)
class Costs:
    """Costs of a strategy; each is None if an older version recorded one of its finals.

    Attributes:
        device_seconds: Mean time of a training on its device; see :attr:`FinalScores.device_seconds`.
        latency: Median time of a forward pass of one image, seconds.
        size: Size of the network, bytes.
    """

    device_seconds: float | None
    latency: float | None
    size: int | None

    @property
    def known(self) -> dict[str, float]:
        """Return the known costs by name, the size in MB (10^6 bytes)."""
        every = {"device_seconds": self.device_seconds, "latency": self.latency, "size_mb": self.size_mb}
        return {name: cost for name, cost in every.items() if cost is not None}

    @property
    def size_mb(self) -> float | None:
        """Return the size in MB (10^6 bytes)."""
        return None if self.size is None else self.size / 1e6


def costs_of(finals: Sequence[FinalScores]) -> Costs:
    """Return the costs of a strategy from its finals."""
    seconds, latencies, sizes = (
        [value for final in finals if (value := getattr(final, name)) is not None]
        for name in ("device_seconds", "latency", "size")
    )
    return Costs(
        device_seconds=fmean(seconds) if len(seconds) == len(finals) else None,
        latency=median(latencies) if len(latencies) == len(finals) else None,
        size=max(sizes) if len(sizes) == len(finals) else None,
    )
