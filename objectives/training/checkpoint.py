"""Checkpoints: the state of a trial after an epoch, as bytes, from which any process resumes with the same numbers
(C4).

Plans, networks and optimizers are built from configuration and seed as in a first run; a checkpoint holds only what
training changed. Phases that had ended are not trained again; their results are restored.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from ..epochs import EpochResult
from ..networks import Network
from ..phases import Phase
from .certificate import Certificate
from .loop import PhaseRun


class CheckpointStore(Protocol):
    """Stores the latest checkpoint of one trial."""

    def save(self, state: Callable[[], bytes]) -> None:
        """Store a state; ``state`` is only called if the latest checkpoint is old enough."""
        ...

    def load(self) -> bytes | None:
        """The latest complete state, or None."""
        ...


class NoCheckpoints:
    """Stores nothing."""

    def save(self, state: Callable[[], bytes]) -> None:
        pass

    def load(self) -> bytes | None:
        return None


@dataclass(frozen=True)
class CheckpointRecord:
    """The part of a checkpoint that is not tensors.

    Attributes:
        identity: Digest of the training; see :func:`identity`.
        seconds: Time spent on the trial so far, seconds.
        epochs: Results of all epochs so far.
        certificates: Certificates of the phases that ended; the next phase is in progress.
    """

    identity: str
    seconds: float
    epochs: tuple[EpochResult, ...]
    certificates: tuple[Certificate, ...]


_RECORD = TypeAdapter(CheckpointRecord)


def identity(phases: tuple[Phase, ...], **facts: Any) -> str:
    """Digest of all that the numbers of a training depend on: only a training with the same digest resumes a
    checkpoint.

    Args:
        phases: Phases of the plan; a plugin may change its plan between two runs.
        facts: Plain values: configuration, seed, data, weights.

    Example:
        >>> from frostline.objectives.phases import Phase
        >>> from frostline.objectives.training import identity
        >>> plan = (Phase("head", 4, epochs=3, head_learning_rate=0.1),)
        >>> identity(plan, seed=0) == identity(plan, seed=1)
        False
    """
    plan = [[phase.name, phase.freeze_depth, phase.epochs, phase.continues, *_rates(phase)] for phase in phases]
    versions = [torch.__version__, _own_version()]
    return hashlib.sha256(json.dumps([plan, versions, facts], sort_keys=True).encode()).hexdigest()


@cache
def _own_version() -> str:
    # Reading it takes as long as an epoch of a small head.
    return version("frostline")


class TrialState:
    """Progress of a trial: restored from its checkpoint at the start, stored after its epochs.

    Args:
        checkpoints: Store of the trial's checkpoint.
        identity: Digest of the training; see :func:`identity`.
        device: Device on which the trial trains.

    Attributes:
        epochs: Results of the phases that ended.
        certificates: Certificates of the phases that ended.
    """

    def __init__(self, checkpoints: CheckpointStore, identity: str, device: torch.device) -> None:
        self.epochs: list[EpochResult] = []
        self.certificates: list[Certificate] = []
        self._checkpoints = checkpoints
        self._identity = identity
        self._device = device
        # Weights that the earlier phases left, and the smallest freeze depth among them.
        self._left: dict[str, Tensor] = {}
        self._shallowest: int | None = None
        self._found = unpack(checkpoints.load(), identity)
        self._began = time.perf_counter() - (self._found[0].seconds if self._found else 0.0)

    @property
    def seconds(self) -> float:
        """Time spent on the trial by all processes, seconds; a killed process loses the time since its last
        checkpoint.
        """
        return time.perf_counter() - self._began

    def enter(self, run: PhaseRun) -> bool:
        """Restore a phase that starts; returns True if it had ended, so that nothing is left to train."""
        if self._found is None:
            return False
        record, tensors = self._found
        run.results = [result for result in record.epochs if result.phase == run.network.phase.name]
        place = len(self.certificates)
        if place < len(record.certificates):
            if place == len(record.certificates) - 1:
                run.network.load_state(part_of(tensors, "left"))
            self.leave(run, record.certificates[place])
            return True
        self._found = None
        run.network.load_state(part_of(tensors, "network"))
        run.best_state = {name: value.to(self._device) for name, value in part_of(tensors, "best").items()}
        if run.optimization is not None:
            run.optimization.load_state(part_of(tensors, "optimization"))
        set_random_states(self._device, part_of(tensors, "random"))
        return False

    def save(self, run: PhaseRun) -> None:
        """Store the state after an epoch of the phase in progress."""
        self._checkpoints.save(lambda: self._write(run))

    def leave(self, run: PhaseRun, certificate: Certificate) -> None:
        """Record that a phase ended."""
        self.epochs += run.results
        self.certificates.append(certificate)
        self._left = self._trained(run.network)

    def _trained(self, network: Network) -> dict[str, Tensor]:
        """A copy of everything that the phases up to the network's may have changed."""
        depth = network.phase.freeze_depth
        self._shallowest = min(depth, depth if self._shallowest is None else self._shallowest)
        if depth == self._shallowest:
            return network.trainable_state()
        return {name: value.detach().clone() for name, value in network.state_dict().items()}

    def _write(self, run: PhaseRun) -> bytes:
        parts = {
            "left": self._left,
            "network": run.network.trainable_state(),
            "best": run.best_state,
            "optimization": {} if run.optimization is None else run.optimization.state(),
            "random": random_states(self._device),
        }
        epochs, certificates = (*self.epochs, *run.results), tuple(self.certificates)
        return pack(CheckpointRecord(self._identity, self.seconds, epochs, certificates), parts)


def _rates(phase: Phase) -> tuple[float, ...]:
    return (phase.head_learning_rate, *phase.unit_learning_rates)


def pack(record: CheckpointRecord, parts: Mapping[str, Mapping[str, Tensor]]) -> bytes:
    """Serialize a record and named parts of tensors as safetensors."""
    tensors = {
        f"{part}/{name}": value.detach().to("cpu").contiguous()
        for part, state in parts.items()
        for name, value in state.items()
    }
    return safetensors.save(tensors, {"record": _RECORD.dump_json(record).decode()})


def unpack(content: bytes | None, identity: str) -> tuple[CheckpointRecord, dict[str, Tensor]] | None:
    """The inverse of :func:`pack`; None if the content is missing, is no checkpoint, or belongs to another training.

    :func:`part_of` gives the tensors of a part.
    """
    if content is None:
        return None
    try:
        # Format: the length of a JSON header in 8 bytes, the header, the tensors.
        end = 8 + int.from_bytes(content[:8], "little")
        text = json.loads(content[8:end])["__metadata__"]["record"]
        if json.loads(text)["identity"] != identity:
            return None
        return _RECORD.validate_json(text), safetensors.load(content)
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        return None


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Tensors of one part, by their names in it.

    >>> import torch
    >>> from frostline.objectives.training.checkpoint import part_of
    >>> part_of({"best/w": torch.ones(1), "left/w": torch.zeros(1)}, "best")
    {'w': tensor([1.])}
    """
    start = f"{part}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of the random generators that a training draws from: the CPU's and the device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Restore generator states; on another kind of device, the device's generator keeps its own state."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type])
