"""Store of features, shared by batches, trials, workers and studies: on the device, in memory and in files."""

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
from .cache_policy import CacheEntry, choose_evictions, is_worth_keeping

# Limits of the files where the user sets no budget: bytes, and the share of free disk space.
_MAX_DISK_BUDGET = 10 * 10**9
_SHARE_OF_FREE_DISK = 0.1
# Bytes moved to measure the speed of memory.
_SAMPLE = 4 * 2**20
# Maximum size of a file's header, bytes.
_MAX_HEADER = 1024


@dataclass(frozen=True)
class Probe:
    """Measurements of a frozen prefix on a device, from one canonical batch of noise.

    Attributes:
        seconds: Time to compute the features of one image, seconds.
        bytes: Size of the features of one image, bytes.
        image_bytes: Size of one input image of the network, bytes.
        digest: Hash of the batch's features. It differs where code or machine compute other numbers from equal weights.
    """

    seconds: float
    bytes: int
    image_bytes: int
    digest: str


class FeatureFileStore(Protocol):
    """Cache entries in files that processes share. A file-system error costs an entry, never a trial."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Lock an entry, so that only one process computes it."""
        ...

    def all_locked(self) -> AbstractContextManager[None]:
        """Lock the budget of all entries."""
        ...

    def read(self, key: str) -> tuple[Mapping[str, Any], NDArray[np.uint8]] | None:
        """Facts and bytes (n,), memory-mapped, of a complete entry; None if there is none."""
        ...

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        """Store an entry; returns whether that succeeded."""
        ...

    def held(self) -> Mapping[str, tuple[int, float, float]]:
        """Bytes, seconds of computation and seconds since the last use of every entry."""
        ...

    def remove(self, key: str) -> None:
        """Remove an entry."""
        ...

    def free_bytes(self) -> int:
        """Free disk space beside the entries, bytes."""
        ...

    def seconds_per_byte(self) -> float:
        """Measured time to write, check and read one byte, seconds."""
        ...


class Tier:
    """Cache of tensors in one kind of memory, within a budget.

    Args:
        budget: Maximum size of all entries together, bytes.

    Example:
        >>> import torch
        >>> from frostline.objectives.features.feature_store import Tier
        >>> tier = Tier(budget=100)
        >>> tier.put("a", torch.zeros(20), seconds=1.0)
        {}
        >>> tier.used, list(tier.put("b", torch.zeros(20), seconds=9.0))
        (80, ['a'])
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._entries: dict[str, tuple[Tensor, float, float]] = {}

    @property
    def used(self) -> int:
        """Size of all entries, bytes."""
        return sum(features.nbytes for features, _, _ in self._entries.values())

    def get(self, key: str) -> Tensor | None:
        """The features of an entry; None if there is none."""
        if key not in self._entries:
            return None
        features, seconds, _ = self._entries[key]
        self._entries[key] = (features, seconds, time.monotonic())
        return features

    def put(self, key: str, features: Tensor, seconds: float) -> dict[str, tuple[Tensor, float]]:
        """Store features if they are worth more than the entries that they would evict.

        Args:
            key: Key of the entry.
            features: Features to store.
            seconds: Time to compute them, seconds.

        Returns:
            Entries that are not stored now: the evicted ones, or the new one itself.
        """
        now = time.monotonic()
        held = {other: CacheEntry(it.nbytes, cost, now - used) for other, (it, cost, used) in self._entries.items()}
        held.pop(key, None)
        victims = choose_evictions(held, CacheEntry(features.nbytes, seconds), self.budget)
        if victims is None:
            return {key: (features, seconds)}
        left = {victim: self._entries.pop(victim)[:2] for victim in victims}
        self._entries[key] = (features, seconds, now)
        return left


class FeatureStore:
    """Features of whole views of splits, shared by the trials of a process and, in files, by all processes of a
    workspace.

    Args:
        memory: Budget in memory, bytes.
        device: Budget on a device with its own memory, bytes.
        disk: Budget in files, bytes.
        files: Files of the workspace.

    Attributes:
        probes: Measurements of frozen prefixes, by their keys.
        computed: Number of views that were computed.
    """

    def __init__(self, memory: int, device: int = 0, disk: int = 0, files: FeatureFileStore | None = None) -> None:
        self.memory = Tier(memory)
        self.on_device = Tier(device)
        self.disk_budget = disk if files is not None else 0
        self.probes: dict[Hashable, Probe] = {}
        self.computed = 0
        self._files = files if disk else None

    @classmethod
    def open(cls, device: torch.device, budget: int | None, files: FeatureFileStore) -> FeatureStore:
        """The store of a process.

        Args:
            device: Device on which the process trains.
            budget: Budget of each tier, bytes; None derives it from the free memory and disk space.
            files: Files of the workspace.
        """
        free = feature_budget(torch.device("cpu"))
        own = feature_budget(device) if device.type != "cpu" else 0
        if budget is None:
            disk = min(_MAX_DISK_BUDGET, int(_SHARE_OF_FREE_DISK * files.free_bytes()))
            return cls(free, own, disk, files)
        return cls(budget, min(own, budget), budget, files)

    @property
    def enabled(self) -> bool:
        """Whether anything can be stored at all."""
        return max(self.memory.budget, self.on_device.budget, self.disk_budget) > 0

    def room(self, probe: Probe, images: int) -> int:
        """Number of views of a split that fit into the tiers where storing pays off.

        Args:
            probe: Measurements of the frozen prefix.
            images: Number of images in the split.
        """
        budgets = [0]
        if is_worth_keeping(probe.seconds, probe.bytes, probe.image_bytes, self._seconds_per_byte):
            budgets += [self.memory.budget, self.on_device.budget]
        if self._is_worth_writing(probe.seconds, probe.bytes, probe.image_bytes):
            budgets.append(self.disk_budget)
        return max(budgets) // (probe.bytes * images)

    def place(self, size: int, device: torch.device) -> torch.device:
        """Device on which to assemble features of a size in bytes: the one that computes them, if they may stay
        there.
        """
        return device if size <= self.on_device.budget else torch.device("cpu")

    def get(self, key: str, device: torch.device, image_bytes: int, compute: Callable[[], Tensor]) -> Tensor:
        """Features of a view: from the store, else computed by this process or by another that was first.

        Args:
            key: Digest of all that the features depend on.
            device: Device on which they are wanted; the result may be in memory.
            image_bytes: Size of all images as inputs of the network, bytes.
            compute: Computes the features, on the device of :meth:`place`.
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
                # For the CPU the file is the one copy: see _found().
                if features.device.type == device.type == "cpu" and (found := self._files.read(key)) is not None:
                    return self._found(key, *found, device)
        return self._keep(key, features, seconds)

    def _timed(self, compute: Callable[[], Tensor]) -> tuple[Tensor, float]:
        started = time.perf_counter()
        features = compute()
        if features.device.type == "cuda":
            torch.cuda.synchronize(features.device)
        self.computed += 1
        return features, time.perf_counter() - started

    def _keep(self, key: str, features: Tensor, seconds: float) -> Tensor:
        """Store features in the fastest tier; entries that it evicts move to memory."""
        if features.device.type == "cpu":
            self.memory.put(key, features, seconds)
            return features
        for other, (left, cost) in self.on_device.put(key, features, seconds).items():
            if self.memory.budget >= left.nbytes:
                self.memory.put(other, _in_memory(left), cost)
        return features

    def _found(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Features from a file. For the CPU they stay mapped: the system's page cache already is a tier of memory."""
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
        """Measured time to write one byte to memory and gather it by rows, seconds."""
        rows = torch.zeros(_SAMPLE // 4096, 1024)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        started = time.perf_counter()
        rows[order].clone()
        return (time.perf_counter() - started) / rows.nbytes

    @cached_property
    def _disk_seconds_per_byte(self) -> float:
        assert self._files is not None
        return self._files.seconds_per_byte()


def write_within(
    files: FeatureFileStore, budget: int, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]
) -> None:
    """Store an entry in files if it is worth more than the entries that it would evict.

    Args:
        files: Files with all other entries.
        budget: Maximum size of all entries together, bytes.
        key: Key of the entry.
        facts: Facts about the entry, among them the ``seconds`` of its computation.
        data: Bytes of the entry, uint8 (n,).
    """
    with files.all_locked():
        held = {other: CacheEntry(*known) for other, known in files.held().items()}
        victims = choose_evictions(held, CacheEntry(len(data) + _MAX_HEADER, facts["seconds"]), budget)
        for victim in victims or ():
            files.remove(victim)
        if victims is not None:
            files.write(key, facts, data)


def bytes_of(features: Tensor) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Layout and bytes, uint8 (n,), of a tensor of any dtype, in its own memory format.

    >>> import torch
    >>> from frostline.objectives.features.feature_store import bytes_of, tensor_of
    >>> layout, data = bytes_of(torch.tensor([[1.0, 2.0]]))
    >>> layout["shape"], data.nbytes, tensor_of(layout, data).tolist()
    ([1, 2], 8, [[1.0, 2.0]])
    """
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
    """A copy in memory from which a CUDA device reads fast."""
    copy = features.cpu()
    return copy.pin_memory() if features.device.type == "cuda" else copy
