"""Delivery of journal records to MLflow, by one process at a time for each study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ..errors import RefusedError, StudyBusyError, UnreachableError
from ..workspace import Workspace
from .journal_records import JournalRecord
from .study_mark import StudyMark

if TYPE_CHECKING:
    from .mlflow_runs import StudyRuns


@dataclass(frozen=True)
class Receipt:
    """What became of delivered records.

    Attributes:
        refused: Why the store refused some records, by sequence number; it has all others.
        notes: Messages for the user.
    """

    refused: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Delivery:
    """Uploads records of one study to its tracking store, from this process.

    **Guarantees:** one process of a workspace delivers a study's records at a time: two that sent the same records
    together would log them twice. The operating system releases the lock when a process ends. After a killed search,
    its sender may still hold the lock until its last records are uploaded. A record that the store rejects does not
    stop the others, unless nothing can be sent: then none is left out.

    Args:
        uri: URI of the tracking store.
        workspace: Workspace of the study.
        mark: Mark of the study.
        patience: Seconds to wait while another process delivers; None to wait without limit.
    """

    def __init__(self, uri: str, workspace: Workspace, mark: StudyMark, patience: float | None = None) -> None:
        self._uri = uri
        self._workspace = workspace
        self._mark = mark
        self._patience = -1 if patience is None else patience
        self._lock = FileLock(workspace.lock(f"delivery-{mark.name}"))
        self._runs: StudyRuns | None = None

    def deliver(self, records: Sequence[JournalRecord]) -> Receipt:
        """Upload records, in order for each run.

        Args:
            records: Records of the study.

        Raises:
            UnreachableError: The store does not answer, or takes nothing of this study; some of the records may have
                arrived.
            StudyBusyError: Another process is delivering.
        """
        by_key: dict[str, list[JournalRecord]] = {}
        for record in records:
            by_key.setdefault(record.key, []).append(record)
        refused: dict[int, str] = {}
        runs, notes = self._connect()
        try:
            for key, of_key in by_key.items():
                try:
                    runs.send(key, of_key)
                except RefusedError:
                    refused |= self._send_singly(runs, of_key)
        except UnreachableError:
            runs.forget()
            raise
        return Receipt(refused, notes)

    def close(self) -> None:
        """Close the connection, so that other processes can deliver."""
        if self._runs is not None:
            self._runs.close()
        self._lock.release()

    def _send_singly(self, runs: StudyRuns, records: list[JournalRecord]) -> dict[int, str]:
        """Send records one by one; return why the store rejects some."""
        refused = {}
        for record in records:
            runs.forget()
            try:
                runs.send(record.key, [record])
            except RefusedError as error:
                self._require(runs)
                refused[record.seq] = str(error)
        return refused

    def _require(self, runs: StudyRuns) -> None:
        """Check that a rejection is one of a record, not of the whole study."""
        try:
            runs.require_experiment()
        except RefusedError as error:
            raise UnreachableError(str(error)) from None

    def _connect(self) -> tuple[StudyRuns, list[str]]:
        """Return the connection, and messages if it is new."""
        if self._runs is None:
            self._hold()
            # Importing MLflow takes a second or two: only if there is something to deliver.
            from .mlflow_runs import StudyRuns

            try:
                self._runs = StudyRuns(self._uri, self._workspace, self._mark)
            except RefusedError as error:
                # No record was rejected, so none may be left out.
                raise UnreachableError(str(error)) from None
            return self._runs, [self._runs.note] if self._runs.note else []
        return self._runs, []

    def _hold(self) -> None:
        if not self._lock.is_locked:
            try:
                self._lock.acquire(timeout=self._patience)
            except Timeout:
                raise StudyBusyError(f"Another process is still sending study {self._mark.name!r} to MLflow.") from None
