"""Leases, moment by moment: who has ended, when a keeper asks the database, and what it gives back."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from frostline.storage.database import leases as module
from frostline.storage.database import tickets as tickets_module
from frostline.storage.database.engine import PATIENCE_SECONDS, Database
from frostline.storage.database.leases import (
    LeaseKeeper,
    describe_worker,
    expire_dead_workers,
    expire_process_without_penalty,
    has_ended,
    machine,
    worker_name,
)
from frostline.storage.database.tickets import Lease, Tickets
from frostline.storage.errors import LeaseLostError, UnreachableError

LEASE = Lease(7, 3, None, "me", token=2, lapses=0)
HOST, BOOT = "gpu-3", "5d1b0c3e.4026531836"


# Who has ended


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str, int], None]:
    """Processes as /proc shows them: id, state, start in ticks."""
    monkeypatch.setattr(module, "_PROC", tmp_path)
    monkeypatch.setattr(module, "machine", lambda: f"{HOST}/{BOOT}")

    def add(pid: int | str, state: str, ticks: int) -> None:
        (tmp_path / str(pid)).mkdir()
        # Names may hold blanks and brackets; the start is the 22nd field.
        fields = [f"{pid} (a) name)", state, *(str(-place) for place in range(4, 22)), str(ticks), "999"]
        (tmp_path / str(pid) / "stat").write_text(" ".join(fields))

    add("self", "R", 1)
    return add


@pytest.mark.parametrize("state", ["R", "S", "D", "T", "I"])
def test_a_process_with_the_same_start_lives(proc: Callable[[int, str, int], None], state: str) -> None:
    proc(4711, state, 88213)
    assert not has_ended(f"{HOST}/{BOOT}/4711/88213/1f2e3d4c")
    # Another has got its number.
    assert has_ended(f"{HOST}/{BOOT}/4711/88212/1f2e3d4c")


@pytest.mark.parametrize("state", ["Z", "X"])
def test_zombies_and_processes_that_are_gone_have_ended(proc: Callable[[int, str, int], None], state: str) -> None:
    proc(4711, state, 88213)
    assert has_ended(f"{HOST}/{BOOT}/4711/88213/1f2e3d4c")
    assert has_ended(f"{HOST}/{BOOT}/4712/88213/1f2e3d4c")


def test_of_other_machines_boots_and_containers_nothing_is_known(proc: Callable[[int, str, int], None]) -> None:
    for place in (f"gpu-4/{BOOT}", f"{HOST}/0.1", f"{HOST}/{BOOT}1"):
        assert not has_ended(f"{place}/4711/88213/1f2e3d4c")


@pytest.mark.parametrize(
    ("status", "ended"), [(psutil.STATUS_RUNNING, False), (psutil.STATUS_ZOMBIE, True), (psutil.STATUS_DEAD, True)]
)
def test_without_proc_psutil_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, ended: bool) -> None:
    monkeypatch.setattr(module, "_PROC", tmp_path)
    monkeypatch.setattr(psutil.Process, "status", lambda self: status)
    worker = f"{machine()}/{os.getpid()}/there/1f2e3d4c"
    assert has_ended(worker) == ended


@pytest.mark.parametrize(("error", "ended"), [(psutil.AccessDenied, False), (psutil.NoSuchProcess, True)])
def test_a_process_that_cannot_be_looked_at_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[psutil.Error], ended: bool
) -> None:
    def refused(self: psutil.Process) -> str:
        raise error(self.pid)  # pyright: ignore[reportCallIssue]

    monkeypatch.setattr(module, "_PROC", tmp_path)
    monkeypatch.setattr(psutil.Process, "status", refused)
    assert has_ended(f"{machine()}/{os.getpid()}/there/1f2e3d4c") == ended


def test_names_of_workers_tell_machine_process_and_start_and_no_two_are_alike() -> None:
    one, other = worker_name(), worker_name()
    assert one != other
    found = re.fullmatch(r"(.+)/(\d+)/(\d+)/([0-9a-f]{8})", one)
    assert found is not None
    assert (found[1], int(found[2])) == (machine(), os.getpid())
    host, _, place = machine().rpartition("/")
    assert host == socket.gethostname()[:60]
    boot, namespace = place.split(".")
    assert len(boot) == 8
    assert int(namespace) == os.stat("/proc/self/ns/pid").st_ino
    # Names fit into the column.
    assert len(one) <= 128


def test_a_machine_without_proc_is_known_by_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path, *args: object, **options: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 99)
    assert machine.__wrapped__() == "h" * 60 + "/.0"


def test_workers_are_described_by_host_and_process() -> None:
    assert describe_worker(f"{HOST}/{BOOT}/4711/88213/1f2e3d4c") == "gpu-3 (process 4711)"
    assert describe_worker(f"{HOST}/{BOOT}") == describe_worker(HOST) == "gpu-3"


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database("sqlite://")
    yield database
    database.engine.dispose()


def claimed(database: Database, *owners: str) -> Tickets:
    """Tickets, one for each owner."""
    tickets = Tickets(database, "flowers", "trial")
    tickets.issue(len(owners))
    for owner in owners:
        database.run_with_retry(lambda session, owner=owner: tickets.claim(session, owner, 60.0))
    return tickets


def test_of_a_dead_worker_all_leases_end_as_crashes_and_others_stay(
    database: Database, proc: Callable[[int, str, int], None]
) -> None:
    proc(1, "S", 11)
    alive, dead, elsewhere = f"{HOST}/{BOOT}/1/11/a", f"{HOST}/{BOOT}/2/22/b", f"gpu-4/{BOOT}/2/22/c"
    tickets = claimed(database, alive, dead, elsewhere, dead)
    assert expire_dead_workers(database, "flowers") == [dead]
    assert [held.seconds_left > 0 for held in tickets.held()] == [True, False, True, False]
    again = database.run_with_retry(lambda session: tickets.claim(session, "next", 60.0, 9))
    assert [(lease.number, lease.lapses) for lease in again] == [(1, 1), (3, 1)]
    assert expire_dead_workers(database, "flowers") == []
    assert expire_dead_workers(database, "birds") == []


def test_of_a_process_only_what_it_held_itself_is_freed_without_a_crash(
    database: Database, proc: Callable[[int, str, int], None]
) -> None:
    proc(1, "S", 11)
    alive, dead, longer = f"{HOST}/{BOOT}/1/11/a", f"{HOST}/{BOOT}/2/22/b", f"{HOST}/{BOOT}/22/22/c"
    tickets = claimed(database, alive, dead, longer, dead)
    assert expire_process_without_penalty(database, "flowers", 1) == []
    first, second = expire_process_without_penalty(database, "flowers", 2)
    assert [held.seconds_left > 0 for held in tickets.held()] == [True, False, True, False]
    again = database.run_with_retry(lambda session: tickets.claim(session, "next", 60.0, 9))
    assert [(lease.ticket, lease.number, lease.lapses) for lease in again] == [(first, 1, 0), (second, 3, 0)]


# The keeper


class Answers:
    """A database that answers renewals as it is told, and notes what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.good: set[int] = {LEASE.ticket}
        self.down = False
        self.renewed: list[tuple[list[Lease], float, float]] = []
        self.released: list[tuple[Lease, float]] = []
        self.patience = -1.0
        monkeypatch.setattr(tickets_module, "renew", self._renew)
        monkeypatch.setattr(tickets_module, "release", self._release)

    def run_with_retry(self, work: Callable[[Any], Any], patience: float = PATIENCE_SECONDS) -> Any:
        if self.down:
            raise UnreachableError("down")
        self.patience = patience
        return work(None)

    def _renew(self, session: None, leases: list[Lease], seconds: float) -> set[int]:
        self.renewed.append((list(leases), seconds, self.patience))
        return self.good

    def _release(self, session: None, lease: Lease) -> bool:
        self.released.append((lease, self.patience))
        return True


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "_clock", clock)
    return clock


@pytest.fixture
def keeper(answers: Answers, clock: Clock) -> Iterator[LeaseKeeper]:
    """Holds a lease of 60 s that was asked for at 100."""
    keeper = LeaseKeeper(answers, 60.0, "me")  # pyright: ignore[reportArgumentType]
    keeper.add([LEASE], asked=100.0)
    yield keeper
    answers.down = False
    keeper.close()


def test_the_database_is_asked_only_when_the_lease_may_have_expired(
    keeper: LeaseKeeper, answers: Answers, clock: Clock
) -> None:
    clock.seconds = 159.9
    keeper.require(LEASE)
    assert answers.renewed == []
    clock.seconds = 160.0
    keeper.require(LEASE)
    assert answers.renewed == [([LEASE], 60.0, PATIENCE_SECONDS)]
    # It is renewed from then on.
    clock.seconds = 219.9
    keeper.require(LEASE)
    assert len(answers.renewed) == 1
    clock.seconds = 220.0
    keeper.require(LEASE)
    assert len(answers.renewed) == 2
    assert keeper.now() == 220.0


def test_a_renewal_counts_from_before_it_was_sent(keeper: LeaseKeeper, answers: Answers, clock: Clock) -> None:
    renew = answers._renew

    def slow(session: None, leases: list[Lease], seconds: float) -> set[int]:
        clock.seconds += 50.0
        return renew(session, leases, seconds)

    clock.seconds = 200.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tickets_module, "renew", slow)
        keeper.require(LEASE)
    clock.seconds = 259.9
    keeper.require(LEASE)
    assert len(answers.renewed) == 1
    clock.seconds = 260.0
    keeper.require(LEASE)
    assert len(answers.renewed) == 2


def test_a_lease_that_was_lost_is_never_held_again(keeper: LeaseKeeper, answers: Answers, clock: Clock) -> None:
    clock.seconds, answers.good = 160.0, set()
    with pytest.raises(LeaseLostError, match="Ticket 3"):
        keeper.require(LEASE)
    answers.good = {LEASE.ticket}
    with pytest.raises(LeaseLostError):
        keeper.require(LEASE)
    assert len(answers.renewed) == 1


def test_what_was_forgotten_or_is_of_another_claim_is_not_held(keeper: LeaseKeeper, answers: Answers) -> None:
    other = Lease(LEASE.ticket, LEASE.number, None, "me", token=LEASE.token + 1, lapses=0)
    with pytest.raises(LeaseLostError):
        keeper.require(other)
    keeper.require(LEASE)
    keeper.forget(LEASE)
    keeper.forget(LEASE)
    with pytest.raises(LeaseLostError):
        keeper.require(LEASE)
    assert answers.renewed == []


def test_while_the_database_is_down_a_lease_in_doubt_is_no_lease(
    keeper: LeaseKeeper, answers: Answers, clock: Clock
) -> None:
    clock.seconds, answers.down = 160.0, True
    with pytest.raises(UnreachableError):
        keeper.require(LEASE)
    answers.down = False
    keeper.require(LEASE)


def test_what_another_thread_forgot_during_a_renewal_stays_forgotten(
    keeper: LeaseKeeper, answers: Answers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Lease(8, 4, None, "me", token=1, lapses=0)
    keeper.add([second], asked=100.0)

    def meanwhile(session: None, leases: list[Lease], seconds: float) -> set[int]:
        keeper.forget(LEASE)
        return {LEASE.ticket, second.ticket}

    monkeypatch.setattr(tickets_module, "renew", meanwhile)
    keeper._renew([LEASE, second])
    with pytest.raises(LeaseLostError):
        keeper.require(LEASE)
    keeper.require(second)


def test_closing_gives_back_what_is_left_without_waiting_and_once(
    keeper: LeaseKeeper, answers: Answers, clock: Clock
) -> None:
    second = Lease(8, 4, None, "me", token=1, lapses=0)
    keeper.add([second], asked=100.0)
    keeper.forget(LEASE)
    keeper.close()
    assert answers.released == [(second, 0.0)]
    assert not keeper._thread.is_alive()
    keeper.close()
    assert len(answers.released) == 1
    with pytest.raises(LeaseLostError):
        keeper.require(second)


class Ended:
    """An event that is set after some waits, and notes how long they are."""

    def __init__(self, waits: int) -> None:
        self.left = waits
        self.waited: list[float] = []
        self.before: list[Callable[[], None]] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        for act in self.before:
            act()
        self.left -= 1
        return self.left < 0

    def set(self) -> None:
        self.left = 0


def renewing(answers: Answers, monkeypatch: pytest.MonkeyPatch, waits: int, held: list[Lease]) -> tuple[Ended, int]:
    """The waits of a keeper that renews so often, and how often it looked."""
    ended, looked = Ended(waits), list[int]()
    thread = module.threading.Thread
    monkeypatch.setattr(module.threading, "Event", lambda: ended)
    # It starts once it holds what it shall.
    monkeypatch.setattr(thread, "start", lambda self: None)
    keeper = LeaseKeeper(answers, 60.0, look=lambda: looked.append(1))  # pyright: ignore[reportArgumentType]
    keeper.add(held, asked=100.0)
    keeper._renew_for_ever()
    assert keeper.owner.startswith(machine())
    assert keeper._thread.daemon
    return ended, len(looked)


def test_leases_are_renewed_four_times_in_their_duration_without_retries(
    answers: Answers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, looked = renewing(answers, monkeypatch, 3, [LEASE])
    assert ended.waited == [15.0] * 4
    assert answers.renewed == [([LEASE], 60.0, 0.0)] * 3
    assert looked == 3


def test_without_a_lease_nothing_is_renewed_but_looked_after(
    answers: Answers, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, looked = renewing(answers, monkeypatch, 2, [])
    assert (answers.renewed, looked) == ([], 2)


def test_a_renewal_that_fails_is_tried_again(answers: Answers, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    answers.down = True
    ended, looked = renewing(answers, monkeypatch, 2, [LEASE])
    assert (len(ended.waited), answers.renewed, looked) == (3, [], 0)


def test_the_clock_counts_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr(module.time, "clock_gettime", lambda clock: asked.append(clock) or 12.5)
    assert LeaseKeeper.now() == 12.5
    assert asked == [module.time.CLOCK_BOOTTIME]
    monkeypatch.delattr(module.time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(module.time, "monotonic", lambda: 3.5)
    assert LeaseKeeper.now() == 3.5
