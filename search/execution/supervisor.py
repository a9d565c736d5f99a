"""The supervisor of a machine's slots: a process each, started anew when it dies, ended with the supervisor."""

from __future__ import annotations

import math
import queue
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...objectives.errors import TrainingFailedError
from ...storage.database.control import STOP
from ...storage.database.leases import excuse_process, let_ended_lapse
from ...storage.tracking.tracker import StudyTracker
from ..slots.messages import FinalFinished, JournalEntry, Message, TrialFinished, Waits, decode
from ..slots.process import Place, RunningSlot
from ..stopping import GRACE_SECONDS, STOPPED, Stopped, Stopper
from ..study.observer import Observer
from ..study.study import Study
from .slot_protocol import Work, tell

# A slot that dies so often in a row, each time this soon, will not do better the next time.
QUICK_FAILURES, QUICK_SECONDS = 3, 30.0
_RESTART_SECONDS = 1.0
# So often a slot that somebody killed is not held against what it trained.
MOST_EXCUSES = 3

# Starts a slot, of its place, its work as a line, its log and what hears its lines.
Start = Callable[[Place, str, Path, Callable[[str | None], None]], RunningSlot]


class Slots:
    """The slots of one study on this machine.

    Args:
        study: The study.
        work: What each slot does; device and threads are its place's.
        tracker: Gets what the slots say to MLflow.
        observer: Told what happens, from the thread that runs the slots.
        start: Starts a slot.
    """

    def __init__(self, study: Study, work: Work, tracker: StudyTracker, observer: Observer, start: Start) -> None:
        self._study = study
        self._work = work
        self._tracker = tracker
        self._observer = observer
        self._start = start
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
                slot.start(self._start, self._work, self._lines)
            while any(slot.needed(self._done) for slot in slots):
                if ended := self._listen(0.2):
                    self._ended(ended)
                for slot in slots:
                    if slot.due and not self._done:
                        slot.start(self._start, self._work, self._lines)
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
        self._hear(slot, decode(line))
        return None

    def _hear(self, slot: _Slot, message: Message) -> None:
        match message:
            case Waits(waits):
                slot.wait(waits)
            case JournalEntry(kind, key, content):
                self._tracker.journal.append(kind, key, **content)
            case FinalFinished(strategy, trial_number, seed):
                self._observer.final_finished(self._study.final_record(strategy, trial_number, seed))
            case _:
                slot.failures = 0 if isinstance(message, TrialFinished) else slot.failures
                tell(self._observer, message)

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
            self._observer.note(
                f"slot {slot.number} keeps failing and is not restarted: {slot.reason}; its log: {slot.log}"
            )
            return
        self._observer.note(f"slot {slot.number} ended ({slot.reason}) and restarts")
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
                        f"No slot of study {study.settings.name!r} stays alive. Fix the cause, then resume: "
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
        self.process: RunningSlot | None = None
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

    def start(self, start: Start, work: Work, lines: queue.Queue[tuple[_Slot, str | None]]) -> None:
        own = replace(work, device=self.place.device, threads=self.place.threads).encode()
        self.waits, self.starts = False, math.inf
        self.process = start(self.place, own, self.log, lambda line: lines.put((self, line)))

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
