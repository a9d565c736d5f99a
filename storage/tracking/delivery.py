"""Delivery of journal records to MLflow, by one process at a time for each study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ..errors import RefusedError, StudyBusyError, UnreachableError
from ..workspace import Workspace
from .journal import JournalRecord

if TYPE_CHECKING:
    from .mlflow_runs import StudyRuns


class Delivery:
    """Uploads records of one study to its tracking store, from this process.

    **Guarantees:** one process of a workspace delivers a study's records at a time: two that sent the same records
    together would log them twice. The operating system releases the lock when a process ends. After a killed search,
    its sender may still hold the lock until its last records are uploaded. A record that the store rejects does not
    stop the others.

    Args:
        uri: URI of the tracking store.
        workspace: Workspace of the study.
        study: Name of the study.
        patience: Seconds to wait while another process delivers; None to wait without limit.
    """

    def __init__(self, uri: str, workspace: Workspace, study: str, patience: float | None = None) -> None:
        self._uri = uri
        self._workspace = workspace
        self._study = study
        self._patience = -1 if patience is None else patience
        self._lock = FileLock(workspace.lock(f"delivery-{study}"))
        self._runs: StudyRuns | None = None

    def deliver(self, records: Sequence[JournalRecord]) -> list[str]:
        """Upload records, in order for each run.

        Args:
            records: Records of the study.

        Returns:
            A message for each record that was left out because the store rejects it.

        Raises:
            UnreachableError: The store does not answer; some of the records may have arrived.
            StudyBusyError: Another process is delivering.
        """
        by_key: dict[str, list[JournalRecord]] = {}
        for record in records:
            by_key.setdefault(record.key, []).append(record)
        left_out: list[str] = []
        runs = self._connect()
        try:
            for key, of_key in by_key.items():
                try:
                    runs.send(key, of_key)
                except RefusedError:
                    left_out += self._send_singly(runs, of_key)
        except UnreachableError:
            runs.forget()
            raise
        return left_out

    def close(self) -> None:
        """Close the connection, so that other processes can deliver."""
        if self._runs is not None:
            self._runs.close()
        self._lock.release()

    def _send_singly(self, runs: StudyRuns, records: list[JournalRecord]) -> list[str]:
        """Send records one by one, without those that the store rejects."""
        left_out = []
        for record in records:
            runs.forget()
            try:
                runs.send(record.key, [record])
            except RefusedError as error:
                left_out.append(f"{record.kind} of {record.key} is left out: {error}")
        return left_out

    def _connect(self) -> StudyRuns:
        if self._runs is None:
            self._hold()
            # Importing MLflow takes a second or two: only if there is something to deliver.
            from .mlflow_runs import StudyRuns

            try:
                self._runs = StudyRuns(self._uri, self._workspace, self._study)
            except RefusedError as error:
                # No record was rejected, so none may be left out.
                raise UnreachableError(str(error)) from None
        return self._runs

    def _hold(self) -> None:
        if not self._lock.is_locked:
            try:
                self._lock.acquire(timeout=self._patience)
            except Timeout:
                raise StudyBusyError(f"Another process is still sending study {self._study!r} to MLflow.") from None
