"""The sender: uploads a journal to MLflow in batches while a search runs, and retries when MLflow does not answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import StorageError
from ..workspace import Workspace
from .delivery import Receipt
from .journal import Journal
from .journal_records import JournalRecord, Refusal

# Longest wait between two attempts to reach a store that does not answer.
MAX_DELAY_SECONDS = 30.0


class Delivers(Protocol):
    """A connection that brings the records of one study to its tracking store."""

    def deliver(self, records: Sequence[JournalRecord]) -> Receipt:
        """Upload records in order; return which of them the store rejects."""
        ...

    def close(self) -> None:
        """Close the connection, so that other processes can deliver."""
        ...


class Killable(Delivers, Protocol):
    """A connection that can be killed while it delivers."""

    def kill(self) -> None:
        """Stop delivering at once and for good; callable from any thread."""
        ...


def send_all(journal: Journal, delivery: Delivers, note: Callable[[str], None]) -> int:
    """Upload all unsent records of a journal now.

    Args:
        journal: Journal to read and to mark.
        delivery: Connection to the store.
        note: Function that receives messages for the user.

    Returns:
        Number of records sent. The journal keeps those that the store rejected.

    Raises:
        UnreachableError: The store does not answer; the records that did not arrive stay in the journal.
        StudyBusyError: Another process is uploading the study's records.
    """
    sent = 0
    while (batch := journal.unsent()).records:
        receipt = delivery.deliver(batch.records)
        for message in receipt.notes:
            note(message)
        journal.mark_sent(batch, receipt.refused)
        sent += len(batch.records) - len(receipt.refused)
    return sent


def describe_refused(refused: Sequence[Refusal]) -> str:
    """Return a sentence about records that MLflow refused, with the most common reason."""
    ((why, times),) = Counter(refusal.why for refusal in refused).most_common(1)
    record = next(refusal.record for refusal in refused if refusal.why == why)
    example = f"the {record.kind} of {record.key}"
    if len(refused) == 1:
        return f"MLflow lacks {example}, which is kept: {why.rstrip('.')}."
    others = f", {len(refused) - times} for other reasons" if times < len(refused) else ""
    return f"MLflow lacks {len(refused)} records, which are kept: {times} such as {example} ({why}){others}."


class Sender:
    """Uploads a study's journal to a tracking store from a thread of its own.

    Args:
        delivery: Connection to the store; closed with the sender.
        workspace: Workspace of the study.
        study: Name of the study.
        journal: Journal of the study.
        note: Function that receives messages when the store does not answer or rejects records; called from the thread.
    """

    def __init__(
        self, delivery: Killable, workspace: Workspace, study: str, journal: Journal, note: Callable[[str], None]
    ) -> None:
        self._command = f"frostline sync {study}{workspace.option}"
        self._timing = workspace.timing
        self._journal = journal
        self._note = note
        self._told = False
        self._delivery = delivery
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="frostline-sender", daemon=True)

    def start(self) -> None:
        """Start to upload records as they are appended."""
        self._thread.start()

    def close(self) -> None:
        """Upload the remaining records while the store makes progress; `frostline sync` can upload the others later."""
        self._closing.set()
        left, since = self._journal.pending, time.monotonic()
        try:
            while self._thread.is_alive() and time.monotonic() - since < self._timing.send_patience:
                self._thread.join(0.1)
                if self._journal.pending != left:
                    left, since = self._journal.pending, time.monotonic()
        finally:
            # The connection has closed by itself, except after a timeout or a second Ctrl-C.
            self._told |= self._thread.is_alive()
            self._delivery.kill()
            self._thread.join()
        if self._journal.pending:
            self._note(f"Some records are not in MLflow yet. Upload them with: {self._command}")
        if refused := self._journal.refused:
            self._note(f"{describe_refused(refused)} Send them again with: {self._command}")

    def _work(self) -> None:
        try:
            self._send_until_closed()
        finally:
            self._delivery.close()

    def _send_until_closed(self) -> None:
        delay = self._timing.send
        while True:
            last = self._closing.is_set()
            try:
                send_all(self._journal, self._delivery, self._note)
                delay = wait = self._timing.send
            except StorageError as error:
                self._tell(error)
                wait, delay = delay, min(2 * delay, MAX_DELAY_SECONDS)
            if last:
                return
            self._closing.wait(wait)

    def _tell(self, error: StorageError) -> None:
        if not self._told:
            self._told = True
            self._note(f"{error}; the search continues. Records are uploaded later, or with: {self._command}")
