"""What sends a journal to MLflow: a thread of its own, in batches, with patience."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import RefusedError, StorageError, UnreachableError
from .journal import Batch, Journal, Record
from .workspace import Workspace

if TYPE_CHECKING:
    from .mlflow_runs import StudyRuns

# Python's threads take turns. At its own 5 ms, training would wait so long after many an operation of torch while
# something is sent: measured, four times its time in place of twice.
SWITCH_SECONDS = 0.0005
# Between looks at the journal, and between attempts at a store that does not answer.
INTERVAL_SECONDS = 1.0
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 1.0, 30.0
# A store that makes no progress for so long at the end of a session is given up.
PATIENCE_SECONDS = 60.0


class Sender:
    """Sends a study's journal to a tracking store.

    Args:
        uri: Of the store.
        workspace: Of the study.
        study: Its name.
        journal: Its journal.
        note: Told, from the sender's thread, when the store does not answer or refuses something.

    Attributes:
        connected: Set once MLflow is imported and the store has answered.
    """

    def __init__(
        self, uri: str, workspace: Workspace, study: str, journal: Journal, note: Callable[[str], None]
    ) -> None:
        self._uri = uri
        self._workspace = workspace
        self._study = study
        self._journal = journal
        self._note = note
        self._runs: StudyRuns | None = None
        self._told = False
        self._switch_seconds = sys.getswitchinterval()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="frostline-sender", daemon=True)
        self.connected = threading.Event()

    def start(self) -> None:
        """Send from now on, whatever is appended."""
        self._switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def close(self) -> None:
        """Send what is left, for as long as the store takes it; what stays is for `frostline sync`."""
        self._closing.set()
        left, since = self._journal.pending, time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < PATIENCE_SECONDS:
            self._thread.join(0.1)
            if self._journal.pending != left:
                left, since = self._journal.pending, time.monotonic()
        sys.setswitchinterval(self._switch_seconds)
        if self._journal.pending:
            self._note(f"MLflow has not got everything; what is left is kept. Send it with: {self._command}")

    def send_all(self) -> int:
        """Send everything now, and say how many records there were.

        Raises:
            UnreachableError: The store does not answer; what did not arrive stays in the journal.
        """
        sent = 0
        while (batch := self._journal.unsent()).records:
            self._send(batch)
            self._journal.mark_sent(batch)
            sent += len(batch.records)
        return sent

    @property
    def _command(self) -> str:
        return f"frostline sync {self._study}{self._workspace.option}"

    def _work(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            last = self._closing.is_set()
            try:
                self.send_all()
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

    def _send(self, batch: Batch) -> None:
        by_key: dict[str, list[Record]] = {}
        for record in batch.records:
            by_key.setdefault(record.key, []).append(record)
        runs = self._connect()
        try:
            for key, records in by_key.items():
                try:
                    runs.send(key, records)
                except RefusedError:
                    self._send_singly(runs, records)
        except UnreachableError:
            runs.forget()
            raise

    def _send_singly(self, runs: StudyRuns, records: list[Record]) -> None:
        """All but those that the store refuses, which would hold up all that follows."""
        for record in records:
            runs.forget()
            try:
                runs.send(record.key, [record])
            except RefusedError as error:
                self._note(f"{record.kind} of {record.key} is left out: {error}")

    def _connect(self) -> StudyRuns:
        if self._runs is None:
            # Importing MLflow takes a second, making its schema several: not at the start of a search.
            from .mlflow_runs import StudyRuns

            try:
                self._runs = StudyRuns(self._uri, self._workspace, self._study)
            except RefusedError as error:
                # Not of a record: nothing may be left out for it.
                raise UnreachableError(str(error)) from None
            self.connected.set()
        return self._runs
