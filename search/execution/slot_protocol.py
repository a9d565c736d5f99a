"""What a slot and its supervisor say to each other: the work goes in, messages come out."""

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
    """Work of a slot.

    Attributes:
        study: Name of the study.
        root: Folder of the workspace.
        storage: URL of the study's database, if it is not the workspace's own.
        artifacts_url: URL of the place for checkpoints, if this machine reaches it by another than the study's.
        data: Where the data are on this machine, if elsewhere than where the study started.
        device: Device that trains.
        cache_bytes: Size of this slot's feature cache, bytes; None for what its machine can spare.
        threads: Threads of torch; 0 leaves them unchanged.
        retries: Number of retries after an unexpected error ended a training.
        search: Whether trials are run, or finals only.
        timing: Intervals of the study's processes.
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

    def encode(self) -> str:
        """The work as one line of JSON, without its end."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, line: str) -> SlotJob:
        """The work of a line."""
        fields = json.loads(line)
        return cls(**fields | {"timing": Timing(**fields["timing"])})


class MessagePipe:
    """Sends messages to the supervisor, one line each, from any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._open: dict[str, None] = {}

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            Stopped: The supervisor is gone: what is under way must not continue, and has not failed either.
        """
        try:
            with self._lock:
                self._file.write(encode(message))
                self._file.flush()
        except BrokenPipeError:
            raise Stopped from None

    def append(self, kind: str, key: str, **content: Any) -> None:
        """Send a record, as a journal keeps it."""
        self.send(JournalEntry(kind, key, content))
        if kind == START:
            self._open[key] = None
        elif kind == FINISH:
            self._open.pop(key, None)

    def open_keys(self) -> list[str]:
        """Keys of the runs that were started and not finished, as a journal knows them."""
        return list(self._open)


class ForwardingObserver(Observer):
    """Tells the supervisor's observer."""

    def __init__(self, line: MessagePipe) -> None:
        self._line = line

    def note(self, message: str) -> None:
        self._line.send(Note(message))

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        self._line.send(TrialStarted(number, strategy, epochs))

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        self._line.send(EpochFinished(number, result))

    def trial_finished(self, trial: TrialRecord) -> None:
        self._line.send(TrialFinished(trial))

    def trial_cut_off(self, number: int) -> None:
        self._line.send(TrialCutOff(number))

    def final_started(self, strategy: str, seed: int, place: int, total: int) -> None:
        self._line.send(FinalStarted(strategy, seed, place, total))

    def final_finished(self, final: FinalScores) -> None:
        # Its probabilities are in the database.
        self._line.send(FinalFinished(final.strategy, final.trial_number, final.seed))

    def final_cut_off(self, strategy: str, seed: int) -> None:
        self._line.send(FinalCutOff(strategy, seed))


def tell(observer: Observer, message: Message) -> None:
    """Make the call of an observer that a message stands for.

    Raises:
        ValueError: It stands for none: the supervisor itself has to handle it.
    """
    match message:
        case Note(text):
            observer.note(text)
        case TrialStarted(number, strategy, epochs):
            observer.trial_started(number, strategy, epochs)
        case EpochFinished(number, result):
            observer.epoch_finished(number, result)
        case TrialFinished(trial):
            observer.trial_finished(trial)
        case TrialCutOff(number):
            observer.trial_cut_off(number)
        case FinalStarted(strategy, seed, place, total):
            observer.final_started(strategy, seed, place, total)
        case FinalCutOff(strategy, seed):
            observer.final_cut_off(strategy, seed)
        case _:
            raise ValueError(f"{type(message).__name__} is no call of an observer")
