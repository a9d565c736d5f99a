"""What sends a journal to MLflow while a search goes on: in batches, with patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import StorageError
from ..workspace import Workspace
from .journal import Journal, Record

# Between looks at the journal, and between attempts at a store that does not answer.
INTERVAL_SECONDS = 1.0
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 1.0, 30.0
# A store that makes no progress for so long at the end of a session is given up.
PATIENCE_SECONDS = 60.0


class Delivers(Protocol):
    """What brings the records of one study to its tracking store."""

    def deliver(self, records: Sequence[Record]) -> list[str]:
        """Bring records there, in order; returns a line for each that the store refuses."""
        ...

    def close(self) -> None:
        """Let others deliver."""
        ...


class Killable(Delivers, Protocol):
    """What delivers, and can be ended while it does."""

    def kill(self) -> None:
        """End it at once, and for good; from any thread."""
        ...


def send_all(journal: Journal, delivery: Delivers, note: Callable[[str], None]) -> int:
    """Send everything now, and say how many records there were; ``note`` is told what the store refuses.

    Raises:
        UnreachableError: The store does not answer; what did not arrive stays in the journal.
    """
    sent = 0
    while (batch := journal.unsent()).records:
        for left_out in delivery.deliver(batch.records):
            note(left_out)
        journal.mark_sent(batch)
        sent += len(batch.records)
    return sent


class Sender:
    """Sends a study's journal to a tracking store. A thread here reads the journal and waits.

    Args:
        delivery: Delivers the records; closed with this sender.
        workspace: Of the study.
        study: Its name.
        journal: Its journal.
        note: Told, from the sender's thread, when the store does not answer or refuses something.
    """

    def __init__(
        self, delivery: Killable, workspace: Workspace, study: str, journal: Journal, note: Callable[[str], None]
    ) -> None:
        self._command = f"frostline sync {study}{workspace.option}"
        self._journal = journal
        self._note = note
        self._told = False
        self._delivery = delivery
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="frostline-sender", daemon=True)

    def start(self) -> None:
        """Send from now on, whatever is appended."""
        self._thread.start()

    def close(self) -> None:
        """Send what is left, for as long as the store takes it; what stays is for `frostline sync`."""
        self._closing.set()
        left, since = self._journal.pending, time.monotonic()
        try:
            while self._thread.is_alive() and time.monotonic() - since < PATIENCE_SECONDS:
                self._thread.join(0.1)
                if self._journal.pending != left:
                    left, since = self._journal.pending, time.monotonic()
        finally:
            # The delivery has ended in order, unless patience did first or somebody pressed Ctrl-C again.
            self._told |= self._thread.is_alive()
            self._delivery.kill()
            self._thread.join()
        if self._journal.pending:
            self._note(f"MLflow has not got everything; what is left is kept. Send it with: {self._command}")

    def _work(self) -> None:
        try:
            self._send_until_closed()
        finally:
            self._delivery.close()

    def _send_until_closed(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            last = self._closing.is_set()
            try:
                send_all(self._journal, self._delivery, self._note)
                delay = wait = INTERVAL_SECONDS
            except StorageError as error:
                self._tell(error)
                wait, delay = delay, min(2 * delay, LONGEST_DELAY_SECONDS)
            if last:
                return
            self._closing.wait(wait)

    def _tell(self, error: StorageError) -> None:
        if not self._told:
            self._told = True
            self._note(f"{error}; the search goes on, and MLflow gets it later or by: {self._command}")
