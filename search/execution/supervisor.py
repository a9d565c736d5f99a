"""The supervisor of a machine's slots: a process each, started anew when it dies, ended with the supervisor."""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...objectives.devices import choose_device, feature_budget
from ...objectives.errors import InvalidInputError, TrainingFailedError, unknown_name
from ...objectives.sizes import parse_size
from ...storage.database.control import STOP
from ...storage.database.leases import excuse_process, let_ended_lapse
from ...storage.tracking.tracker import StudyTracker
from ...storage.workspace import Workspace
from ..slots import ray_cluster
from ..slots.process import Place, SlotProcess
from ..stopping import GRACE_SECONDS, STOPPED, Stopped, Stopper
from ..study.observer import Observer
from ..study.study import Study
from .slot import Work, restore

# A slot that dies so often in a row, each time this soon, will not do better the next time.
QUICK_FAILURES, QUICK_SECONDS = 3, 30.0
ENGINES = ("local", "ray")
_RESTART_SECONDS = 1.0
# So often a slot that somebody killed is not held against what it trained.
MOST_EXCUSES = 3


@dataclass(frozen=True)
class Resources:
    """What of this machine a study gets.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        cache_budget: Size of the feature cache, such as ``4GB``; ``auto``, or ``0`` for none.
        workers: Processes that train; None for one a GPU, or one.
        slots_per_gpu: Processes that share a GPU, where their number is not given.
        engine: ``local`` for this machine, ``ray`` for a Ray cluster.
        address: Of the Ray cluster; None for the one that runs on this machine.
        retries: How often a training is begun again that something unexpected ended.
    """

    device: str = "auto"
    cache_budget: str = "auto"
    workers: int | None = None
    slots_per_gpu: int = 1
    engine: str = "local"
    address: str | None = None
    retries: int = 1

    def check(self, workspace: Workspace) -> None:
        """See whether a study of a workspace can have this.

        Raises:
            InvalidInputError: It cannot; says why.
        """
        least = {"--workers": self.workers, "--slots-per-gpu": self.slots_per_gpu}
        if faults := [f"{name} must be at least 1, got {count}." for name, count in least.items() if (count or 1) < 1]:
            raise InvalidInputError(faults)
        if self.engine not in ENGINES:
            raise InvalidInputError(unknown_name("engine", self.engine, ENGINES))
        if self.engine == "ray":
            ray_cluster.check(self, workspace)
        elif self.address is not None:
            raise InvalidInputError(f"--address {self.address} is of a Ray cluster: add --engine ray, or leave it out.")
        else:
            choose_device(self.device)

    @property
    def device_type(self) -> str:
        """``cuda``, ``cpu`` or ``mps``: what trials run on."""
        if self.engine == "ray":
            return "cuda" if ray_cluster.on_gpus(ray_cluster.survey(self.address), self) else "cpu"
        return choose_device(self.device).type

    @property
    def alone(self) -> bool:
        """Whether this process can do the work."""
        return self.engine == "local" and len(self.places()) == 1

    def places(self) -> list[Place]:
        """Where the slots run."""
        if self.engine == "ray":
            return ray_cluster.places(ray_cluster.survey(self.address), self)
        gpus = _visible_gpus() if self.device in ("auto", "cuda") else []
        if gpus:
            count = self.workers or len(gpus) * self.slots_per_gpu
            return [Place("cuda", {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}, 0) for slot in range(count)]
        count = self.workers or 1
        threads = max(1, (os.cpu_count() or 1) // count)
        # Set before torch is imported too: libraries make their pools then.
        return [Place(self.device, {"OMP_NUM_THREADS": str(threads)}, threads) for _ in range(count)]

    def share(self, slots: int) -> str:
        """The cache budget of each of so many slots."""
        if self.engine == "ray":
            return ray_cluster.share(ray_cluster.survey(self.address), self)
        size = parse_size(self.cache_budget)
        if size is None:
            device = choose_device(self.device)
            if device.type == "cuda":
                return self.cache_budget
            size = feature_budget(device)
        return str(size // slots)


def _visible_gpus() -> list[str]:
    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [name for name in named.split(",") if name] or [str(gpu) for gpu in range(torch.cuda.device_count())]


class Slots:
    """The slots of one study on this machine.

    Args:
        study: The study.
        work: What each slot does; device and threads are its place's.
        tracker: Gets what the slots say to MLflow.
        observer: Told what happens, from the thread that runs the slots.
    """

    def __init__(self, study: Study, work: Work, tracker: StudyTracker, observer: Observer) -> None:
        self._study = study
        self._work = work
        self._tracker = tracker
        self._observer = observer
        self._done = False
        # How often tickets' processes were killed.
        self._excused: Counter[int] = Counter()
        # (slot, line), and (slot, None) when a slot's process has ended.
        self._lines: queue.Queue[tuple[_Slot, str | None]] = queue.Queue()

    def run(self, where: list[Place], stopper: Stopper) -> None:
        """Have the slots work until there is nothing left to do.

        Raises:
            TrainingFailedError: No slot stays alive.
            Stopped: The stopper was asked to; the slots have ended.
        """
        logs = self._study.workspace.logs
        logs.mkdir(parents=True, exist_ok=True)
        name = self._study.settings.name
        slots = [_Slot(number, place, logs / f"{name}-slot-{number}.log") for number, place in enumerate(where)]
        try:
            for slot in slots:
                slot.start(self._work, self._lines)
            while any(slot.needed(self._done) for slot in slots):
                if ended := self._listen(0.2):
                    self._ended(ended)
                for slot in slots:
                    if slot.due and not self._done:
                        slot.start(self._work, self._lines)
                stopper.check()
        finally:
            self._end(slots)
        if reasons := [slot.reason for slot in slots if slot.given_up]:
            self._require_done(reasons)

    def _listen(self, seconds: float) -> _Slot | None:
        """Take up the next thing that a slot says; if that is its end, the slot."""
        try:
            slot, line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            return slot
        self._hear(slot, json.loads(line))
        return None

    def _hear(self, slot: _Slot, message: list[Any]) -> None:
        call, *arguments = message
        if call == "waits":
            slot.wait(*arguments)
        elif call == "journal":
            kind, key, content = arguments
            self._tracker.journal.append(kind, key, **content)
        elif call == "final_finished":
            known = {(each.strategy, each.trial_number, each.seed): each for each in self._study.final_records()}
            self._observer.final_finished(known[tuple(arguments)])
        else:
            slot.failures = 0 if call == "trial_finished" else slot.failures
            getattr(self._observer, call)(*restore(call, arguments))

    def _ended(self, slot: _Slot) -> None:
        status = slot.reap()
        if slot.killed_by_another:
            self._excuse(slot.pid)
        # What it had is for others, at once.
        let_ended_lapse(self._study.database, self._study.settings.name)
        if status == 0:
            # Nothing is left to do: what still waits for a place needs none any more.
            self._done = True
            return
        if status == STOPPED and self._study.wish.get() == STOP:
            raise Stopped
        slot.failures = slot.failures + 1 if slot.lived < QUICK_SECONDS else 1
        if slot.given_up:
            self._observer.note(f"slot {slot.number} is given up: {slot.reason}; its log: {slot.log}")
            return
        self._observer.note(f"slot {slot.number} ended ({slot.reason}) and is started anew")
        # Not waited for here: what the others say meanwhile would be lost if this process were killed.
        slot.starts = time.monotonic() + _RESTART_SECONDS

    def _excuse(self, pid: int) -> None:
        """Not count it against a training that somebody killed its process; but not for ever: who knows why."""
        too_often = {ticket for ticket, times in self._excused.items() if times >= MOST_EXCUSES}
        self._excused.update(excuse_process(self._study.database, self._study.settings.name, pid, too_often))

    def _end(self, slots: list[_Slot]) -> None:
        """End what still runs: with a checkpoint first, for so long as that may take."""
        running = [slot for slot in slots if slot.process is not None]
        for slot in running:
            slot.signal(signal.SIGTERM)
        deadline = time.monotonic() + 2 * GRACE_SECONDS
        try:
            while any(slot.process is not None for slot in running) and time.monotonic() < deadline:
                if ended := self._listen(0.1):
                    ended.reap()
        finally:
            for slot in running:
                slot.signal(signal.SIGKILL)
            for slot in running:
                if slot.process is not None:
                    slot.reap()

    def _require_done(self, reasons: list[str]) -> None:
        study = self._study
        if not study.tickets.exhausted() or not study.final_tickets.exhausted():
            raise TrainingFailedError(
                "\n".join(
                    [
                        f"No slot of study {study.settings.name!r} stays alive. Once that is mended, go on with: "
                        f"frostline resume {study.settings.name}{study.workspace.option}",
                        *dict.fromkeys(reasons),
                    ]
                )
            )


class _Slot:
    """One slot and the process that is in it just now."""

    def __init__(self, number: int, place: Place, log: Path) -> None:
        self.number = number
        self.place = place
        self.log = log
        self.process: SlotProcess | None = None
        self.waits = False
        # When it is started anew.
        self.starts = math.inf
        self.failures = 0
        self.lived = 0.0
        self.reason = ""
        # Of the process that ended last.
        self.pid = 0
        self.killed_by_another = False

    @property
    def given_up(self) -> bool:
        return self.failures >= QUICK_FAILURES

    @property
    def due(self) -> bool:
        """Whether it is to be started now."""
        return self.process is None and time.monotonic() >= self.starts

    def needed(self, done: bool) -> bool:
        """Whether it works or is going to, unless nothing is left to do."""
        if self.process is None:
            return not done and self.starts < math.inf
        return not (done and self.waits)

    def start(self, work: Work, lines: queue.Queue[tuple[_Slot, str | None]]) -> None:
        own = json.dumps(asdict(replace(work, device=self.place.device, threads=self.place.threads)))
        self.waits, self.starts = False, math.inf
        self.process = SlotProcess(
            self.place.program, own, self.place.environment, self.log, lambda line: lines.put((self, line))
        )

    def wait(self, waits: bool) -> None:
        """It has, or has not, the place where it is to run."""
        self.waits = waits
        if self.process is not None and not waits:
            self.process.begins()

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.signal(number)

    def reap(self) -> int:
        """Wait for the process, which has ended, and say how."""
        process, self.process = self.process, None
        assert process is not None
        status, self.lived = process.reap()
        self.pid, self.killed_by_another = process.pid, process.killed_by_another(status)
        self.reason = process.reason(status)
        return status
