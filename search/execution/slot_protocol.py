"""The protocol between a supervisor and its slots: a job to the slot, messages to the supervisor."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from ...objectives.epochs import EpochResult
from ...storage.timing import Timing
from ...storage.tracking import FINISH, START
from ..records import FinalScores, TrialRecord
from ..slots import (
    BudgetUsed,
    EpochFinished,
    FinalCutOff,
    FinalFinished,
    FinalStarted,
    JournalEntry,
    Message,
    Note,
    TrialCutOff,
    TrialFinished,
    TrialStarted,
    encode,
)
from ..stopping import Stopped
from ..study import Observer


@dataclass(frozen=True)
class SlotJob:
    """The work of a slot, sent by its supervisor.

    Attributes:
        study: Name of the study.
        root: Folder of the workspace.
        storage: URL of the study's database, if it is not the workspace's own.
        artifacts_url: URL of the checkpoints, if it differs from the study's on this machine.
        data: Location of the dataset, if it differs from the study's on this machine.
        device: Device to train on.
        cache_bytes: Size of this slot's feature cache, bytes; None for a share of its device's free memory.
        threads: Number of torch threads; 0 leaves it unchanged.
        retries: Number of retries after an unexpected error ended a training.
        search: Whether the slot runs trials; finals only if False.
        timing: Intervals of the study's processes.
        image_root: Folder from which the paths of a table start, if it differs from the study's on this machine.
    """

    study: str
    root: str
    storage: str | None
    artifacts_url: str | None
    data: str | None
    device: str
    cache_bytes: int | None
    threads: int
    retries: int
    search: bool
    timing: Timing
    image_root: str | None = None

    def encode(self) -> str:
        """Encode the job as one line of JSON, without the line break."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> SlotJob:
        """Decode the job of a line."""
        fields = json.loads(line)
        return cls(**fields | {"timing": Timing(**fields["timing"])})


class MessagePipe:
    """Sends messages to the supervisor, one per line; safe to use from several threads."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._open: dict[str, None] = {}

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            Stopped: The supervisor is gone. Current work must stop, but has not failed.
        """
        try:
            with self._lock:
                self._file.write(encode(message))
                self._file.flush()
        except BrokenPipeError:
            raise Stopped from None

    def append(self, kind: str, key: str, **content: Any) -> None:
        """Send a record for the supervisor's journal."""
        self.send(JournalEntry(kind, key, content))
        if kind == START:
            self._open[key] = None
        elif kind == FINISH:
            self._open.pop(key, None)

    def open_keys(self) -> list[str]:
        """Keys of the runs that were started but not finished."""
        return list(self._open)


class ForwardingObserver(Observer):
    """Forwards the calls of an observer to the supervisor as messages."""

    def __init__(self, line: MessagePipe) -> None:
        self._line = line

    def note(self, message: str) -> None:
        self._line.send(Note(message))

    def budget_used(self, seconds: float) -> None:
        self._line.send(BudgetUsed(seconds))

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        self._line.send(TrialStarted(number, strategy, epochs))

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        self._line.send(EpochFinished(number, result))

    def trial_finished(self, trial: TrialRecord) -> None:
        self._line.send(TrialFinished(trial))

    def trial_cut_off(self, number: int) -> None:
        self._line.send(TrialCutOff(number))

    def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
        self._line.send(FinalStarted(finalist, seed, place, total))

    def final_finished(self, final: FinalScores) -> None:
        # The probabilities stay in the database, so the message is short.
        self._line.send(FinalFinished(final.strategy, final.trial_number, final.seed))

    def final_cut_off(self, finalist: str, seed: int) -> None:
        self._line.send(FinalCutOff(finalist, seed))


def tell(observer: Observer, message: Message) -> None:
    """Call the observer's method that corresponds to a message.

    Raises:
        ValueError: No method corresponds to it; the supervisor must handle it itself.
    """
    match message:
        case Note(text):
            observer.note(text)
        case BudgetUsed(seconds):
            observer.budget_used(seconds)
        case TrialStarted(number, strategy, epochs):
            observer.trial_started(number, strategy, epochs)
        case EpochFinished(number, result):
            observer.epoch_finished(number, result)
        case TrialFinished(trial):
            observer.trial_finished(trial)
        case TrialCutOff(number):
            observer.trial_cut_off(number)
        case FinalStarted(finalist, seed, place, total):
            observer.final_started(finalist, seed, place, total)
        case FinalCutOff(finalist, seed):
            observer.final_cut_off(finalist, seed)
        case _:
            raise ValueError(f"{type(message).__name__} is no call of an observer")
