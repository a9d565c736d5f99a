"""Leases of workers: unique worker names, detection of dead workers, and the thread that renews leases."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection
from functools import cache, partial
from pathlib import Path

import psutil
from sqlalchemy.orm import Session

from ..database import tickets
from ..errors import LeaseLostError, StorageError
from .engine import PATIENCE_SECONDS, Database
from .tickets import Lease

# Renewals within the duration of a lease.
RENEWALS = 4
_PROC = Path("/proc")


def worker_name() -> str:
    """Return a new unique worker name: machine, boot, process id, process start, and a random part."""
    return f"{machine()}/{os.getpid()}/{_started(os.getpid())}/{uuid.uuid4().hex[:8]}"


@cache
def machine() -> str:
    """Return the machine part of worker names: host name, boot and process namespace, so containers differ."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        boot, namespace = "", 0
    return f"{socket.gethostname()[:60]}/{boot}.{namespace}"


def has_ended(worker: str) -> bool:
    """Return whether a worker has ended; always False for workers of other machines, which cannot be seen."""
    if not worker.startswith(f"{machine()}/"):
        return False
    pid, started, _ = worker.removeprefix(f"{machine()}/").split("/")
    return _started(int(pid)) != started


def describe_worker(worker: str) -> str:
    """Return a worker's machine and process, for messages.

    Examples:
        >>> from frostline.storage.database import describe_worker
        >>> describe_worker("gpu-3/5d1b0c3e.4026531836/4711/88213/1f2e3d4c")
        'gpu-3 (process 4711)'
    """
    host, *rest = worker.split("/")
    return f"{host} (process {rest[1]})" if len(rest) > 1 else host


def _started(pid: int) -> str:
    """Return the start of a process in kernel ticks; empty if there is no such process, or it is a zombie."""
    # Not psutil's creation time: it includes the boot time, which changes when the clock is set, so that a live worker
    # would seem dead. Ticks since boot never change, and worker names in databases contain them.
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if (_PROC / "self/stat").exists() else _alive(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _alive(pid: int) -> str:
    """Return a non-empty text if the process is alive, on systems without /proc."""
    try:
        return "" if psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else "there"
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return "there"


def expire_dead_workers(database: Database, study: str) -> list[str]:
    """Expire the leases of this machine's dead workers at once, each counted as a crash.

    Returns:
        Names of the dead workers.

    Raises:
        UnreachableError: The database cannot be used.
    """
    ended = [
        owner for owner in database.run_with_retry(lambda session: tickets.owners(session, study)) if has_ended(owner)
    ]
    if ended:
        database.run_with_retry(lambda session: tickets.expire(session, study, ended))
    return ended


def expire_process_without_penalty(database: Database, study: str, pid: int, but: Collection[int] = ()) -> list[int]:
    """Expire the leases of an ended process of this machine, without counting a crash.

    Args:
        database: Database that holds the tickets.
        study: Name of the study.
        pid: Id of the process.
        but: Row ids of tickets to leave unchanged.

    Returns:
        Row ids of the expired tickets.

    Raises:
        UnreachableError: The database cannot be used.
    """

    def work(session: Session) -> list[int]:
        begins = f"{machine()}/{pid}/"
        ended = [owner for owner in tickets.owners(session, study) if owner.startswith(begins) and has_ended(owner)]
        return [ticket for owner in ended for ticket in tickets.expire_without_penalty(session, study, owner, but)]

    return database.run_with_retry(work)


def _clock() -> float:
    """Return seconds of a clock that counts suspend, so that a suspended worker knows its leases have expired."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class LeaseKeeper:
    """The leases of one worker, renewed by a background thread.

    **Guarantees:**

    - While the process runs and the database answers, leases are renewed four times per duration.
    - After a kill nothing is renewed: the leases expire within their duration, and other workers claim the tickets.
    - :meth:`require` returns only if no other worker could have claimed the ticket at that moment. It counts the
      duration from before the renewal was sent, on a clock that counts suspend, and asks the database if in doubt.
    - A lease that was lost is never held again.
    - Methods may be called from any thread. :meth:`close` releases the remaining leases; nothing is renewed after it.

    Args:
        database: Database that holds the tickets.
        seconds: Duration of a lease in seconds.
        owner: Name of the worker; a new one by default.
        look: Function that the thread calls after each renewal.

    Attributes:
        owner: Name of the worker.
        seconds: Duration of a lease in seconds.
    """

    def __init__(
        self, database: Database, seconds: float, owner: str | None = None, look: Callable[[], None] = lambda: None
    ) -> None:
        self.owner = owner or worker_name()
        self.seconds = seconds
        self._database = database
        self._lock = threading.Lock()
        # Leases by ticket, and the time until which each is certainly valid.
        self._leases: dict[int, Lease] = {}
        self._until: dict[int, float] = {}
        self._look = look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
        self._thread.start()

    def add(self, leases: Collection[Lease], asked: float) -> None:
        """Renew these leases from now on.

        Args:
            leases: New leases.
            asked: Time from :meth:`now`, taken before the claim.
        """
        with self._lock:
            for lease in leases:
                self._leases[lease.ticket] = lease
                self._until[lease.ticket] = asked + self.seconds

    @staticmethod
    def now() -> float:
        """Return the seconds of this machine's clock; suspend counts."""
        return _clock()

    def forget(self, lease: Lease) -> None:
        """Stop renewing a lease, because its ticket is done or released."""
        with self._lock:
            self._leases.pop(lease.ticket, None)
            self._until.pop(lease.ticket, None)

    def require(self, lease: Lease) -> None:
        """Check that a lease is still valid; ask the database only if in doubt.

        Raises:
            LeaseLostError: Another worker may hold the ticket.
            UnreachableError: The database does not answer.
        """
        with self._lock:
            # A lease that is not in the book was lost or released.
            if self._leases.get(lease.ticket) != lease:
                raise LeaseLostError([lease.number])
            sure = self._until.get(lease.ticket, 0.0) > _clock()
        if not sure:
            self._renew([lease])
            self.require(lease)

    def close(self) -> None:
        """Release the remaining leases, and end the thread.

        Raises:
            UnreachableError: The database does not answer; the leases expire by themselves.
        """
        self._ended.set()
        self._thread.join()
        with self._lock:
            left = list(self._leases.values())
            self._leases.clear()
        for lease in left:
            self._database.run_with_retry(partial(tickets.release, lease=lease), patience=0.0)

    def _renew(self, leases: Collection[Lease], patience: float = PATIENCE_SECONDS) -> None:
        asked = _clock()
        good = self._database.run_with_retry(lambda session: tickets.renew(session, leases, self.seconds), patience)
        with self._lock:
            for lease in leases:
                # Another thread may have released it.
                if self._leases.get(lease.ticket) != lease:
                    continue
                if lease.ticket in good:
                    self._until[lease.ticket] = asked + self.seconds
                else:
                    del self._leases[lease.ticket], self._until[lease.ticket]

    def _renew_for_ever(self) -> None:
        while not self._ended.wait(self.seconds / RENEWALS):
            with self._lock:
                leases = list(self._leases.values())
            try:
                if leases:
                    # No retries: close() waits for this thread.
                    self._renew(leases, patience=0.0)
                self._look()
            except StorageError:
                # Retry at the next renewal; require() asks the database about leases that are in doubt.
                continue
