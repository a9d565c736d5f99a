"""Who works: names of workers, which of them have ended, and the thread that keeps a worker's leases alive."""

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

from . import tickets
from .database import PATIENCE_SECONDS, Database
from .errors import LeaseLostError, StorageError
from .tickets import Lease

# How often a lease is renewed while it lasts.
RENEWALS = 4
_PROC = Path("/proc")


def worker_name() -> str:
    """A name that no other worker has or had: machine, its start, process, and something random."""
    return f"{machine()}/{os.getpid()}/{_started(os.getpid())}/{uuid.uuid4().hex[:8]}"


@cache
def machine() -> str:
    """This machine since its start, as part of a worker's name; containers are machines of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        boot, namespace = "", 0
    return f"{socket.gethostname()[:60]}/{boot}.{namespace}"


def has_ended(worker: str) -> bool:
    """Whether a worker is known to have ended: only one of this machine can be."""
    if not worker.startswith(f"{machine()}/"):
        return False
    pid, started, _ = worker.removeprefix(f"{machine()}/").split("/")
    return _started(int(pid)) != started


def describe_worker(worker: str) -> str:
    """Where a worker is, for people: its machine and process."""
    host, *rest = worker.split("/")
    return f"{host} (process {rest[1]})" if len(rest) > 1 else host


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where there is none, or it is only waited for."""
    # psutil's creation time would not do: it adds the boot time, which moves when the clock is set, and a worker that
    # is alive would seem to have ended. The ticks since the boot never move, and names in databases have them.
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if (_PROC / "self/stat").exists() else _alive(pid)
    return "" if fields[0] in "ZX" else fields[19]


def _alive(pid: int) -> str:
    """Where there is no /proc: whether there is a process of this number that has not ended."""
    try:
        return "" if psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else "there"
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return "there"


def let_ended_lapse(database: Database, study: str) -> list[str]:
    """Let what workers of this machine left behind be taken up at once; names of those that are gone."""
    ended = [owner for owner in database.patiently(lambda session: tickets.owners(session, study)) if has_ended(owner)]
    if ended:
        database.patiently(lambda session: tickets.lapse(session, study, ended))
    return ended


def excuse_process(database: Database, study: str, pid: int, but: Collection[int] = ()) -> list[int]:
    """Let what a process of this machine had that has ended be taken up, without counting that against it.

    Args:
        database: Where the tickets are.
        study: The study.
        pid: Of the process.
        but: Rows of tickets that are left to lapse.

    Returns:
        Rows of the tickets.
    """

    def work(session: Session) -> list[int]:
        begins = f"{machine()}/{pid}/"
        ended = [owner for owner in tickets.owners(session, study) if owner.startswith(begins) and has_ended(owner)]
        return [ticket for owner in ended for ticket in tickets.excuse(session, study, owner, but)]

    return database.patiently(work)


def _clock() -> float:
    """Seconds that go on while the machine sleeps: a suspended worker must know that its leases have lapsed."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Keeper:
    """The leases of one worker, kept alive by a thread of its own.

    Args:
        database: Where the tickets are.
        seconds: How long a lease lasts.
        owner: The worker.
        look: Called each time, from that thread.
    """

    def __init__(
        self, database: Database, seconds: float, owner: str | None = None, look: Callable[[], None] = lambda: None
    ) -> None:
        self.owner = owner or worker_name()
        self.seconds = seconds
        self._database = database
        self._lock = threading.Lock()
        # Leases by ticket, and until when each is ours for sure.
        self._leases: dict[int, Lease] = {}
        self._until: dict[int, float] = {}
        self._look = look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
        self._thread.start()

    def add(self, leases: Collection[Lease], asked: float) -> None:
        """Keep leases.

        Args:
            leases: New ones.
            asked: What :meth:`now` said before they were asked for.
        """
        with self._lock:
            for lease in leases:
                self._leases[lease.ticket] = lease
                self._until[lease.ticket] = asked + self.seconds

    @staticmethod
    def now() -> float:
        """Seconds on this machine's clock."""
        return _clock()

    def forget(self, lease: Lease) -> None:
        """Renew a lease no longer: its ticket is done, or was given back."""
        with self._lock:
            self._leases.pop(lease.ticket, None)
            self._until.pop(lease.ticket, None)

    def require(self, lease: Lease) -> None:
        """See that a lease is still ours; asks the database only where that is not sure.

        Raises:
            LeaseLostError: It is another worker's.
            UnreachableError: The database does not say.
        """
        with self._lock:
            # One that is not kept any more was lost, or given back.
            if self._leases.get(lease.ticket) != lease:
                raise LeaseLostError([lease.number])
            sure = self._until.get(lease.ticket, 0.0) > _clock()
        if not sure:
            self._renew([lease])
            self.require(lease)

    def close(self) -> None:
        """Give back what is still held, and end the thread.

        Leases that the database cannot be told of lapse by themselves.
        """
        self._ended.set()
        self._thread.join()
        with self._lock:
            left = list(self._leases.values())
            self._leases.clear()
        for lease in left:
            self._database.patiently(partial(tickets.release, lease=lease), patience=0.0)

    def _renew(self, leases: Collection[Lease], patience: float = PATIENCE_SECONDS) -> None:
        asked = _clock()
        good = self._database.patiently(lambda session: tickets.renew(session, leases, self.seconds), patience)
        with self._lock:
            for lease in leases:
                # It may have been given back meanwhile.
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
                    # Not longer: who closes this waits for the thread.
                    self._renew(leases, patience=0.0)
                self._look()
            except StorageError:
                # The next time, perhaps; what could not be renewed for too long is asked about before it is used.
                continue
