"""Delivery of journal records to MLflow: by one process at a time for each study, all but what MLflow refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ..errors import RefusedError, StudyBusyError, UnreachableError
from ..workspace import Workspace
from .journal import Record

if TYPE_CHECKING:
    from .mlflow_runs import StudyRuns


class Delivery:
    """Brings records of one study to its tracking store, from this process.

    Who delivers holds a lock: two that sent the same records together would double them. The sender of a search that
    was killed may hold it still, for as long as what it was given last takes.

    Args:
        uri: Of the store.
        workspace: Of the study.
        study: Its name.
        patience: How many seconds to wait for another process to end its delivery; None for ever.
    """

    def __init__(self, uri: str, workspace: Workspace, study: str, patience: float | None = None) -> None:
        self._uri = uri
        self._workspace = workspace
        self._study = study
        self._patience = -1 if patience is None else patience
        self._lock = FileLock(workspace.lock(f"delivery-{study}"))
        self._runs: StudyRuns | None = None

    def deliver(self, records: Sequence[Record]) -> list[str]:
        """Bring records there, in order; what was left out because the store refuses it is returned, a line each.

        Raises:
            UnreachableError: The store does not answer; how much of them arrived is not known.
            StudyBusyError: Another process is delivering.
        """
        by_key: dict[str, list[Record]] = {}
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
        """Let others deliver."""
        if self._runs is not None:
            self._runs.close()
        self._lock.release()

    def _send_singly(self, runs: StudyRuns, records: list[Record]) -> list[str]:
        """All but those that the store refuses, which would hold up all that follows."""
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
            # Importing MLflow takes a second or two: not where there is nothing to deliver.
            from .mlflow_runs import StudyRuns

            try:
                self._runs = StudyRuns(self._uri, self._workspace, self._study)
            except RefusedError as error:
                # Not of a record: nothing may be left out for it.
                raise UnreachableError(str(error)) from None
        return self._runs

    def _hold(self) -> None:
        if not self._lock.is_locked:
            try:
                self._lock.acquire(timeout=self._patience)
            except Timeout:
                raise StudyBusyError(f"Another process is still sending study {self._study!r} to MLflow.") from None
