"""The state of a trial after an epoch, as bytes: another process goes on from it to the same numbers (contract C4).

Plans, networks and optimizers are made anew from configuration and seed, as in a first run; a state holds only what
training changed. Phases that had ended are not trained again, but put back to what they left.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import torch
from pydantic import TypeAdapter
from safetensors import torch as safetensors
from torch import Tensor

from ..epochs import EpochResult
from ..networks.network import Network
from ..phases import Phase
from .certificate import Certificate
from .loop import PhaseRun


class Checkpoints(Protocol):
    """Keeps the latest state of one trial."""

    def save(self, state: Callable[[], bytes]) -> None:
        """Keep a state; it is only asked for if the one before is old enough."""
        ...

    def load(self) -> bytes | None:
        """The latest state that is whole, or None."""
        ...


class NoCheckpoints:
    """Keeps nothing."""

    def save(self, state: Callable[[], bytes]) -> None:
        pass

    def load(self) -> bytes | None:
        return None


@dataclass(frozen=True)
class Record:
    """What of a state is not tensors.

    Attributes:
        identity: Of the training, see :func:`identity`.
        seconds: Spent on the trial so far.
        epochs: All so far.
        certificates: Of the phases that ended; the next one is under way.
    """

    identity: str
    seconds: float
    epochs: tuple[EpochResult, ...]
    certificates: tuple[Certificate, ...]


_RECORD = TypeAdapter(Record)


def identity(phases: tuple[Phase, ...], **facts: Any) -> str:
    """Digest of all that the numbers of a training depend on: a state goes on only with what made it.

    Args:
        phases: The plan; that of a plugin may change between two runs.
        facts: Plain values: configuration, seed, data, weights.
    """
    plan = [[phase.name, phase.freeze_depth, phase.epochs, phase.continues, *_rates(phase)] for phase in phases]
    versions = [torch.__version__, version("frostline")]
    return hashlib.sha256(json.dumps([plan, versions, facts], sort_keys=True).encode()).hexdigest()


class TrialState:
    """How far a trial has come: found where it was cut off, and kept after its epochs.

    Args:
        checkpoints: Where it is kept.
        identity: See :func:`identity`.
        device: Where the trial trains.

    Attributes:
        epochs: Of the phases that ended.
        certificates: Of the phases that ended.
    """

    def __init__(self, checkpoints: Checkpoints, identity: str, device: torch.device) -> None:
        self.epochs: list[EpochResult] = []
        self.certificates: list[Certificate] = []
        self._checkpoints = checkpoints
        self._identity = identity
        self._device = device
        # What the phases before left, and the least that one of them froze.
        self._left: dict[str, Tensor] = {}
        self._shallowest: int | None = None
        self._found = unpack(checkpoints.load(), identity)
        self._began = time.perf_counter() - (self._found[0].seconds if self._found else 0.0)

    @property
    def seconds(self) -> float:
        """Spent on the trial, by all processes; what came after the last checkpoint of one that was killed is lost."""
        return time.perf_counter() - self._began

    def enter(self, run: PhaseRun) -> bool:
        """Bring a phase that begins to where it was cut off. True if it had ended: then nothing is left to do."""
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
        if run.optimisation is not None:
            run.optimisation.load_state(part_of(tensors, "optimisation"))
        set_random_states(self._device, part_of(tensors, "random"))
        return False

    def save(self, run: PhaseRun) -> None:
        """Keep the state after an epoch of the phase under way."""
        self._checkpoints.save(lambda: self._write(run))

    def leave(self, run: PhaseRun, certificate: Certificate) -> None:
        """Take note that a phase ended."""
        self.epochs += run.results
        self.certificates.append(certificate)
        self._left = self._trained(run.network)

    def _trained(self, network: Network) -> dict[str, Tensor]:
        """A copy of what any phase up to that of the network may have changed."""
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
            "optimisation": {} if run.optimisation is None else run.optimisation.state(),
            "random": random_states(self._device),
        }
        epochs, certificates = (*self.epochs, *run.results), tuple(self.certificates)
        return pack(Record(self._identity, self.seconds, epochs, certificates), parts)


def _rates(phase: Phase) -> tuple[float, ...]:
    return (phase.head_learning_rate, *phase.unit_learning_rates)


def pack(record: Record, parts: Mapping[str, Mapping[str, Tensor]]) -> bytes:
    """A record and named parts of tensors, as safetensors."""
    tensors = {
        f"{part}/{name}": value.detach().to("cpu").contiguous()
        for part, state in parts.items()
        for name, value in state.items()
    }
    return safetensors.save(tensors, {"record": _RECORD.dump_json(record).decode()})


def unpack(content: bytes | None, identity: str) -> tuple[Record, dict[str, Tensor]] | None:
    """The inverse of :func:`pack`; None if it is that of another training. A part's tensors: :func:`part_of`."""
    if content is None:
        return None
    # The format: the length of a JSON header in 8 bytes, the header, the tensors.
    end = 8 + int.from_bytes(content[:8], "little")
    text = json.loads(content[8:end])["__metadata__"]["record"]
    if json.loads(text)["identity"] != identity:
        return None
    return _RECORD.validate_json(text), safetensors.load(content)


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Of the generators that a training draws from: the CPU's and the device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Set those that there are; a trial that goes on on another kind of device draws anew there."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type])
