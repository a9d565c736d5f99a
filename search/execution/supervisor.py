"""The supervisor of a machine's slots: starts one process per slot, restarts it when it dies, stops all at the end."""

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
from ...storage.database import STOP, expire_dead_workers, expire_process_without_penalty
from ...storage.tracking import StudyTracker
from ..slots import FinalFinished, JournalEntry, Message, RunningSlot, SlotSpec, TrialFinished, Waits, decode
from ..stopping import GRACE_SECONDS, STOPPED, Stopped, Stopper
from ..study import Observer, Study
from .internal_errors import InternalErrors
from .slot_protocol import SlotJob, tell

# A slot that dies this often in a row, each time this soon, is not restarted.
QUICK_FAILURES, QUICK_SECONDS = 3, 30.0
# External kills that do not count against a trial.
MAX_EXCUSES = 3

# Starts a slot from its place, its work as a line, its log and the function that receives its lines.
Start = Callable[[SlotSpec, str, Path, Callable[[str | None], None]], RunningSlot]


class SlotSupervisor:
    """The slots of a study on this machine.

    Args:
        study: Study to work on.
        work: Work of each slot; device and threads come from its place.
        tracker: Tracker that receives the slots' log records.
        observer: Observer, called from the thread that runs the slots.
        start: Function that starts a slot.
    """

    def __init__(self, study: Study, work: SlotJob, tracker: StudyTracker, observer: Observer, start: Start) -> None:
        self._study = study
        self._work = work
        self._tracker = tracker
        self._observer = observer
        self._start = start
        self._done = False
        self._internal = InternalErrors()
        # Number of external kills by ticket.
        self._excused: Counter[int] = Counter()
        # Entries are (slot, line), and (slot, None) after a slot's process has ended.
        self._lines: queue.Queue[tuple[_Slot, str | None]] = queue.Queue()

    def run(self, where: list[SlotSpec], stopper: Stopper) -> None:
        """Run the slots until no work is left.

        Raises:
            TrainingFailedError: All slots keep failing and work is left, or trials keep failing by the same bug.
            Stopped: A stop was requested; the slots have ended.
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
                    if slot.restart_due and not self._done:
                        slot.start(self._start, self._work, self._lines)
                stopper.check()
                # Not where trials are noted: slots that are stopped may still report some.
                self._internal.check()
        finally:
            self._end(slots)
        if reasons := [slot.reason for slot in slots if slot.given_up]:
            self._require_done(reasons)

    def _listen(self, seconds: float) -> _Slot | None:
        """Handle the next message of a slot; return the slot if its process has ended."""
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
                slot.failures = 0
                self._observer.final_finished(self._study.final_record(strategy, trial_number, seed))
            case _:
                tell(self._observer, message)
                if isinstance(message, TrialFinished):
                    slot.failures = 0
                    self._internal.note(message.trial)

    def _ended(self, slot: _Slot) -> None:
        status = slot.reap()
        if slot.killed_by_another:
            self._excuse(slot.pid)
        # Its trial is released to other workers at once.
        expire_dead_workers(self._study.database, self._study.settings.name)
        if status == 0:
            # No work is left: slots that wait for a place are not needed.
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
        # No waiting here: a kill of this process would lose the messages that other slots send meanwhile.
        slot.starts = time.monotonic() + self._study.workspace.timing.restart

    def _excuse(self, pid: int) -> None:
        """Do not count an external kill against the trial, up to MAX_EXCUSES times."""
        too_often = {ticket for ticket, times in self._excused.items() if times >= MAX_EXCUSES}
        self._excused.update(
            expire_process_without_penalty(self._study.database, self._study.settings.name, pid, too_often)
        )

    def _end(self, slots: list[_Slot]) -> None:
        """Stop the running slots; each may first save a checkpoint within the grace period."""
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
        if not study.search_ended() or not study.decided():
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
    """A slot with its present process."""

    def __init__(self, number: int, place: SlotSpec, log: Path) -> None:
        self.number = number
        self.place = place
        self.log = log
        self.process: RunningSlot | None = None
        self.waits = False
        # Time of the next restart.
        self.starts = math.inf
        self.failures = 0
        self.lived = 0.0
        self.reason = ""
        # Process id of the last process that ended.
        self.pid = 0
        self.killed_by_another = False

    @property
    def given_up(self) -> bool:
        return self.failures >= QUICK_FAILURES

    @property
    def restart_due(self) -> bool:
        """Return whether the slot is due to start now."""
        return self.process is None and time.monotonic() >= self.starts

    def needed(self, done: bool) -> bool:
        """Return whether the slot works, or will work if work is left."""
        if self.process is None:
            return not done and self.starts < math.inf
        return not (done and self.waits)

    def start(self, start: Start, work: SlotJob, lines: queue.Queue[tuple[_Slot, str | None]]) -> None:
        own = replace(work, device=self.place.device, threads=self.place.threads).encode()
        self.waits, self.starts = False, math.inf
        self.process = start(self.place, own, self.log, lambda line: lines.put((self, line)))

    def wait(self, waits: bool) -> None:
        """Record whether the slot waits for a place to run."""
        self.waits = waits
        if self.process is not None and not waits:
            self.process.begins()

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.signal(number)

    def reap(self) -> int:
        """Wait for the ended process and return its exit status."""
        process, self.process = self.process, None
        assert process is not None
        status, self.lived = process.reap()
        self.pid, self.killed_by_another = process.pid, process.killed_by_another(status)
        self.reason = process.reason(status)
        return status
