"""Features kept between batches, trials, workers and studies: on the device, in memory, in files."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..devices import feature_budget
from .cache_policy import Held, choose_victims, is_worth_keeping

# Of the files, where the user names no budget.
_LARGEST_DISK_BUDGET = 10 * 10**9
_SHARE_OF_FREE_DISK = 0.1
# What is moved to learn how fast bytes move.
_SAMPLE = 4 * 2**20
# Of a file, beside its data.
_LARGEST_HEADER = 1024


@dataclass(frozen=True)
class Probe:
    """What one canonical batch of noise tells about a frozen prefix on a device.

    Attributes:
        seconds: To compute the features of one image.
        bytes: Of them.
        image_bytes: Of the image as the network sees it.
        digest: Hash of the batch's features. It differs where code or machine give other numbers for equal weights.
    """

    seconds: float
    bytes: int
    image_bytes: int
    digest: str


class FeatureFiles(Protocol):
    """Entries in files that processes share. A fault of the file system costs an entry, never a trial."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Hold an entry, so that one process computes it."""
        ...

    def all_locked(self) -> AbstractContextManager[None]:
        """Hold the budget of all entries."""
        ...

    def read(self, key: str) -> tuple[Mapping[str, Any], NDArray[np.uint8]] | None:
        """Facts and bytes (n,), memory-mapped, of an entry that is whole."""
        ...

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        """Keep an entry; whether that succeeded."""
        ...

    def held(self) -> Mapping[str, tuple[int, float, float]]:
        """Bytes, seconds of computing and seconds since the last use of every entry."""
        ...

    def remove(self, key: str) -> None:
        """Take an entry out."""
        ...

    def free_bytes(self) -> int:
        """Space left beside the entries."""
        ...

    def seconds_per_byte(self) -> float:
        """To write, check and read, as measured."""
        ...


class Tier:
    """Tensors in one kind of memory, within a budget.

    Args:
        budget: Bytes that all entries together may take.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._entries: dict[str, tuple[Tensor, float, float]] = {}

    @property
    def used(self) -> int:
        """Bytes held."""
        return sum(features.nbytes for features, _, _ in self._entries.values())

    def get(self, key: str) -> Tensor | None:
        if key not in self._entries:
            return None
        features, seconds, _ = self._entries[key]
        self._entries[key] = (features, seconds, time.monotonic())
        return features

    def put(self, key: str, features: Tensor, seconds: float) -> dict[str, tuple[Tensor, float]]:
        """Keep features that took some seconds, if they are worth more than what must leave for them.

        Returns:
            What is not here now: entries that left, or the newcomer itself.
        """
        now = time.monotonic()
        held = {other: Held(it.nbytes, cost, now - used) for other, (it, cost, used) in self._entries.items()}
        held.pop(key, None)
        victims = choose_victims(held, Held(features.nbytes, seconds), self.budget)
        if victims is None:
            return {key: (features, seconds)}
        left = {victim: self._entries.pop(victim)[:2] for victim in victims}
        self._entries[key] = (features, seconds, now)
        return left


class FeatureStore:
    """Features of whole views of splits, shared by the trials of a process and, in files, by all of a workspace.

    Args:
        memory: Bytes in memory.
        device: Bytes on a device that has its own.
        disk: Bytes in files.
        files: Where these are.

    Attributes:
        probes: Of frozen prefixes, by their keys.
        computed: How many views were computed.
    """

    def __init__(self, memory: int, device: int = 0, disk: int = 0, files: FeatureFiles | None = None) -> None:
        self.memory = Tier(memory)
        self.on_device = Tier(device)
        self.disk_budget = disk if files is not None else 0
        self.probes: dict[Hashable, Probe] = {}
        self.computed = 0
        self._files = files if disk else None

    @classmethod
    def open(cls, device: torch.device, budget: int | None, files: FeatureFiles) -> FeatureStore:
        """The store of a process.

        Args:
            device: Where it trains.
            budget: Bytes, the same for every tier; None for what the machine has to spare.
            files: The workspace's.
        """
        free = feature_budget(torch.device("cpu"))
        own = feature_budget(device) if device.type != "cpu" else 0
        if budget is None:
            disk = min(_LARGEST_DISK_BUDGET, int(_SHARE_OF_FREE_DISK * files.free_bytes()))
            return cls(free, own, disk, files)
        return cls(budget, min(own, budget), budget, files)

    @property
    def enabled(self) -> bool:
        """Whether anything can be kept at all."""
        return max(self.memory.budget, self.on_device.budget, self.disk_budget) > 0

    def room(self, probe: Probe, images: int) -> int:
        """How many views of so many images there is room for, in the tiers where they are worth keeping."""
        budgets = [0]
        if is_worth_keeping(probe.seconds, probe.bytes, probe.image_bytes, self._seconds_per_byte):
            budgets += [self.memory.budget, self.on_device.budget]
        if self._is_worth_writing(probe.seconds, probe.bytes, probe.image_bytes):
            budgets.append(self.disk_budget)
        return max(budgets) // (probe.bytes * images)

    def place(self, size: int, device: torch.device) -> torch.device:
        """Where features of a size, in bytes, are put together: on the device that computes them if they may stay."""
        return device if size <= self.on_device.budget else torch.device("cpu")

    def get(self, key: str, device: torch.device, image_bytes: int, compute: Callable[[], Tensor]) -> Tensor:
        """Features of a view, from where they are, else computed by this process or by another that was first.

        Args:
            key: Of all that they depend on.
            device: Where they are wanted; what comes back may be in memory.
            image_bytes: Of all images as the network sees them.
            compute: Gives them, at their :meth:`place`.
        """
        for tier in (self.on_device, self.memory):
            if (features := tier.get(key)) is not None:
                return features
        if self._files is None:
            return self._keep(key, *self._timed(compute))
        with self._files.lock(key):
            if (found := self._files.read(key)) is not None:
                return self._found(key, *found, device)
            features, seconds = self._timed(compute)
            if self._is_worth_writing(seconds, features.nbytes, image_bytes):
                self._write(key, features, seconds)
        return self._keep(key, features, seconds)

    def _timed(self, compute: Callable[[], Tensor]) -> tuple[Tensor, float]:
        started = time.perf_counter()
        features = compute()
        if features.device.type == "cuda":
            torch.cuda.synchronize(features.device)
        self.computed += 1
        return features, time.perf_counter() - started

    def _keep(self, key: str, features: Tensor, seconds: float) -> Tensor:
        """Put features into the fastest tier; what must leave it moves to memory."""
        if features.device.type == "cpu":
            self.memory.put(key, features, seconds)
            return features
        for other, (left, cost) in self.on_device.put(key, features, seconds).items():
            if self.memory.budget >= left.nbytes:
                self.memory.put(other, _in_memory(left), cost)
        return features

    def _found(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Features of a file. For the CPU they stay mapped: the system's page cache is a tier of memory already."""
        features = tensor_of(facts, data)
        fits = max(self.on_device.budget, self.memory.budget) >= features.nbytes
        return features if device.type == "cpu" or not fits else self._keep(key, features.to(device), facts["seconds"])

    def _write(self, key: str, features: Tensor, seconds: float) -> None:
        assert self._files is not None
        layout, data = bytes_of(features)
        write_within(self._files, self.disk_budget, key, {**layout, "seconds": seconds}, data)

    def _is_worth_writing(self, seconds: float, size: int, image_bytes: int) -> bool:
        return self._files is not None and is_worth_keeping(seconds, size, image_bytes, self._disk_seconds_per_byte)

    @cached_property
    def _seconds_per_byte(self) -> float:
        """To write and to gather rows in memory."""
        rows = torch.zeros(_SAMPLE // 4096, 1024)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        started = time.perf_counter()
        rows[order].clone()
        return (time.perf_counter() - started) / rows.nbytes

    @cached_property
    def _disk_seconds_per_byte(self) -> float:
        assert self._files is not None
        return self._files.seconds_per_byte()


def write_within(files: FeatureFiles, budget: int, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> None:
    """Keep an entry in files, if it is worth more than what must leave for it.

    Args:
        files: With all their other entries.
        budget: Bytes that all entries together may take.
        key: Of the entry.
        facts: With the ``seconds`` that it took to compute.
        data: Bytes (n,).
    """
    with files.all_locked():
        held = {other: Held(*known) for other, known in files.held().items()}
        victims = choose_victims(held, Held(len(data) + _LARGEST_HEADER, facts["seconds"]), budget)
        for victim in victims or ():
            files.remove(victim)
        if victims is not None:
            files.write(key, facts, data)


def bytes_of(features: Tensor) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """A tensor as its layout and its bytes (n,): any type, in the memory format that it has."""
    features = features.detach().cpu()
    channels_last = features.ndim == 4 and features.is_contiguous(memory_format=torch.channels_last)
    order = (0, 2, 3, 1) if channels_last else tuple(range(features.ndim))
    ordered = features.permute(order).contiguous()
    layout = {"shape": list(ordered.shape), "order": list(order), "dtype": str(features.dtype).removeprefix("torch.")}
    return layout, ordered.flatten().view(torch.uint8).numpy()


def tensor_of(layout: Mapping[str, Any], data: NDArray[np.uint8]) -> Tensor:
    """The inverse of :func:`bytes_of`; nothing is copied."""
    flat = torch.from_numpy(data).view(getattr(torch, layout["dtype"]))
    return flat.reshape(layout["shape"]).permute(np.argsort(layout["order"]).tolist())


def _in_memory(features: Tensor) -> Tensor:
    """A copy from which a CUDA device reads fast."""
    copy = features.cpu()
    return copy.pin_memory() if features.device.type == "cuda" else copy
