"""Tickets: each goes to one worker at a time, is done once, and is taken over only from who has gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from frostline.storage.database import ticket_repair
from frostline.storage.database import tickets as tickets_module
from frostline.storage.database.engine import Database
from frostline.storage.database.leases import (
    LeaseKeeper,
    expire_dead_workers,
    expire_process_without_penalty,
    has_ended,
    worker_name,
)
from frostline.storage.database.tickets import Lease, Tickets
from frostline.storage.errors import LeaseLostError, UnreachableError

LONG = 60.0


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.engine.dispose()


@pytest.fixture
def tickets(database: Database) -> Tickets:
    tickets = Tickets(database, "flowers", "trial")
    tickets.issue(3)
    return tickets


def claim(database: Database, tickets: Tickets, owner: str, seconds: float = LONG, limit: int = 1) -> list[Lease]:
    return database.run_with_retry(lambda session: tickets.claim(session, owner, seconds, limit))


def prove(database: Database, lease: Lease) -> bool:
    return database.run_with_retry(lambda session: tickets_module.prove(session, lease, LONG))


def credit_progress(database: Database, lease: Lease) -> bool:
    return database.run_with_retry(lambda session: tickets_module.credit_progress(session, lease, LONG))


def finish(database: Database, lease: Lease) -> bool:
    return database.run_with_retry(lambda session: tickets_module.finish(session, lease))


def test_the_lowest_come_first_and_none_goes_to_two(database: Database, tickets: Tickets) -> None:
    leases = [claim(database, tickets, owner) for owner in ("a", "b", "a", "b")]
    assert [[lease.number for lease in each] for each in leases] == [[0], [1], [2], []]
    assert [each[0].owner for each in leases[:3]] == ["a", "b", "a"]


def test_issuing_again_adds_what_lacks_and_changes_nothing(database: Database, tickets: Tickets) -> None:
    [first] = claim(database, tickets, "a")
    assert finish(database, first)
    tickets.issue(5, done=[4])
    assert tickets.counts() == (5, 2)
    assert [lease.number for lease in claim(database, tickets, "b", limit=9)] == [1, 2, 3]


def test_kinds_and_studies_have_tickets_of_their_own(database: Database, tickets: Tickets) -> None:
    finals = Tickets(database, "flowers", "final")
    finals.issue_for(["full-3 1000", "full-3 1001"])
    finals.issue_for(["full-3 1001", "full-7 1000"])
    subjects = [(lease.number, lease.subject) for lease in claim(database, finals, "a", limit=5)]
    assert subjects == [(0, "full-3 1000"), (1, "full-3 1001"), (2, "full-7 1000")]
    assert Tickets(database, "birds", "trial").counts() == (0, 0)
    assert tickets.counts() == (3, 0)


def test_a_lapsed_lease_is_taken_over_and_its_first_owner_can_write_no_more(
    database: Database, tickets: Tickets
) -> None:
    [slow] = claim(database, tickets, "slow", seconds=-1)
    [taken] = claim(database, tickets, "quick")
    assert (taken.number, taken.lapses) == (slow.number, 1)
    assert taken.token > slow.token
    assert not prove(database, slow)
    assert not credit_progress(database, slow)
    assert not finish(database, slow)
    assert not database.run_with_retry(lambda session: tickets_module.release(session, slow))
    assert database.run_with_retry(lambda session: tickets_module.renew(session, [slow, taken], LONG)) == {taken.ticket}
    assert finish(database, taken)
    # Done twice is done once: the answer to the first may have been lost.
    assert finish(database, taken)
    assert tickets.counts() == (3, 1)


def test_a_lapsed_lease_holds_until_somebody_takes_it(database: Database, tickets: Tickets) -> None:
    [slow] = claim(database, tickets, "slow", seconds=-1)
    assert prove(database, slow)
    assert [lease.number for lease in claim(database, tickets, "quick")] == [1]


def test_lapses_count_until_something_is_achieved(database: Database, tickets: Tickets) -> None:
    leases = [claim(database, tickets, owner, seconds=-1)[0] for owner in "abc"]
    lapses, lease = [each.lapses for each in leases], leases[-1]
    assert credit_progress(database, lease)
    database.run_with_retry(lambda session: tickets_module.expire(session, "flowers", ["c"]))
    [lease] = claim(database, tickets, "d")
    assert [*lapses, lease.lapses] == [0, 1, 2, 1]
    # Giving back is no lapse.
    assert database.run_with_retry(lambda session: tickets_module.release(session, lease))
    [lease] = claim(database, tickets, "e")
    assert (lease.number, lease.lapses) == (0, 1)


def test_many_claim_at_once_and_each_ticket_goes_to_one(database: Database) -> None:
    tickets = Tickets(database, "crowd", "trial")
    tickets.issue(60)
    start = threading.Barrier(6)

    def work(owner: str) -> list[int]:
        start.wait()
        got = []
        while leases := claim(database, tickets, owner):
            got += [lease.number for lease in leases]
            assert finish(database, leases[0])
        return got

    with ThreadPoolExecutor(6) as pool:
        every = [number for got in pool.map(work, "abcdef") for number in got]
    assert sorted(every) == list(range(60))
    assert tickets.counts() == (60, 60)


def test_two_that_issue_together_issue_once(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]
    every = [Tickets(database, "flowers", "trial") for database in databases]
    start = threading.Barrier(4)

    def issue(tickets: Tickets) -> None:
        start.wait()
        tickets.issue(50)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(issue, every))
    assert every[0].counts() == (50, 0)
    for database in databases:
        database.engine.dispose()


def test_a_keeper_renews_while_it_lives(database: Database, tickets: Tickets) -> None:
    keeper = LeaseKeeper(database, 0.8)
    asked = keeper.now()
    leases = claim(database, tickets, keeper.owner, seconds=0.8)
    keeper.add(leases, asked)
    time.sleep(1.5)
    [held] = tickets.held()
    assert (held.number, held.owner) == (0, keeper.owner)
    assert held.seconds_left > 0
    keeper.require(leases[0])
    keeper.close()
    assert tickets.held() == []
    assert claim(database, tickets, "other")[0].lapses == 0


def test_a_keeper_that_slept_too_long_knows_it_before_it_writes(
    database: Database, tickets: Tickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = LeaseKeeper(database, LONG)
    [lease] = claim(database, tickets, keeper.owner, seconds=-1)
    keeper.add([lease], keeper.now() - LONG)
    keeper.require(lease)  # it had lapsed, but nobody took it
    [other] = claim(database, tickets, "other")
    assert other.number == 1
    database.run_with_retry(lambda session: tickets_module.expire(session, "flowers", [keeper.owner]))
    assert claim(database, tickets, "other")[0].number == 0
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + 2 * LONG
    monkeypatch.setattr("frostline.storage.database.leases._clock", lambda: later)
    with pytest.raises(LeaseLostError, match="Ticket 0"):
        keeper.require(lease)
    keeper.close()
    assert {held.owner for held in tickets.held()} == {"other"}


def test_who_has_ended_is_known_on_this_machine_only() -> None:
    mine = worker_name()
    assert not has_ended(mine)
    child = subprocess.run(
        [sys.executable, "-c", "from frostline.storage.database.leases import worker_name; print(worker_name())"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert has_ended(child)
    assert not has_ended("elsewhere/0.0/1/1/abc")
    # Another process under the same number.
    host, pid, _, rest = mine.rsplit("/", 3)
    assert pid == str(os.getpid())
    assert has_ended(f"{host}/{pid}/1/{rest}")


def test_who_has_ended_is_known_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("frostline.storage.database.leases._PROC", tmp_path)
    mine = worker_name()
    assert not has_ended(mine)
    host, _, started, rest = mine.rsplit("/", 3)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        child = f"{host}/{process.pid}/{started}/{rest}"
        assert not has_ended(child)
        process.kill()
        # It has ended, and is not waited for yet.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(child)
    assert has_ended(child)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
def test_a_worker_is_known_by_ticks_that_no_setting_of_the_clock_moves() -> None:
    _, _, started, _ = worker_name().rsplit("/", 3)
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert int(started) == ticks


def killed_with_a_ticket(database_url: str) -> int:
    """Process that was killed after it claimed a ticket."""
    code = (
        "import os, sys; from frostline.storage.database.engine import Database\n"
        "from frostline.storage.database.tickets import Tickets\n"
        "from frostline.storage.database.leases import LeaseKeeper\n"
        "database = Database(sys.argv[1]); keeper = LeaseKeeper(database, 60.0)\n"
        "tickets = Tickets(database, 'flowers', 'trial')\n"
        "database.run_with_retry(lambda session: tickets.claim(session, keeper.owner, 60.0))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, database_url]) as process:
        assert process.wait() == -9
    return process.pid


def test_what_a_killed_worker_left_is_free_at_once(database_url: str, database: Database, tickets: Tickets) -> None:
    killed_with_a_ticket(database_url)
    assert [lease.number for lease in claim(database, tickets, "other")] == [1]
    assert len(expire_dead_workers(database, "flowers")) == 1
    assert [(lease.number, lease.lapses) for lease in claim(database, tickets, "other")] == [(0, 1)]


def test_what_a_killed_worker_left_is_not_held_against_it_where_that_is_known(
    database_url: str, database: Database, tickets: Tickets
) -> None:
    first = killed_with_a_ticket(database_url)
    second = killed_with_a_ticket(database_url)
    [alive] = claim(database, tickets, worker_name())
    # Others' processes, and those that live, keep theirs.
    assert expire_process_without_penalty(database, "flowers", first + second + 1) == []
    assert expire_process_without_penalty(database, "flowers", os.getpid()) == []
    [freed] = expire_process_without_penalty(database, "flowers", first)
    assert [(lease.number, lease.lapses, lease.token) for lease in claim(database, tickets, "other")] == [(0, 0, 2)]
    with database.snapshot() as session:
        [other] = [each.id for each in ticket_repair.read_tickets(session, "flowers") if each.number == 1]
    assert expire_process_without_penalty(database, "flowers", second, but=[other]) == []
    assert len({freed, other, alive.ticket}) == 3


def test_tickets_are_read_and_put_right(database: Database, tickets: Tickets) -> None:
    [alive] = claim(database, tickets, "b")
    [gone] = claim(database, tickets, "a", seconds=-1)
    with database.snapshot() as session:
        read = {each.number: each for each in ticket_repair.read_tickets(session, "flowers")}
    assert [(each.kind, each.done, each.owner) for each in read.values()] == [
        ("trial", False, "b"),
        ("trial", False, "a"),
        ("trial", False, None),
    ]
    assert LONG - 20 < (read[0].seconds_left or 0.0) <= LONG
    assert (read[1].seconds_left or 0.0) < 0
    assert read[2].seconds_left is None
    freed = [
        database.run_with_retry(lambda session, id=each.ticket: ticket_repair.reclaim_expired(session, id))
        for each in (gone, alive)
    ]
    assert freed == [True, False]
    # Who had it is fenced off, and counted as one that went away; once.
    assert not prove(database, gone)
    [again] = claim(database, tickets, "c")
    assert (again.number, again.lapses) == (1, 1)
    database.run_with_retry(lambda session: ticket_repair.set_done(session, alive.ticket, done=True))
    assert not prove(database, alive)
    assert tickets.counts() == (3, 1)


def test_a_transaction_whose_connection_the_server_ends_is_run_again(request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres").create_database("ended")
    database, other = Database(url), Database(url)
    connections: list[int] = []

    def work(session: Session) -> int | None:
        connections.append(session.execute(text("SELECT pg_backend_pid()")).scalar_one())
        if len(connections) == 1:
            with other.session() as ending:
                # It waits for the end, up to so many milliseconds.
                ended = text(f"SELECT pg_terminate_backend({connections[0]}, 60000)")
                assert ending.execute(ended).scalar_one()
        return session.execute(text("SELECT 7")).scalar_one()

    assert database.run_with_retry(work) == 7
    assert len({*connections}) == 2
    for each in (database, other):
        each.engine.dispose()


@pytest.mark.slow  # A server takes its time to start. A connection that ends is quick.
def test_a_server_that_is_restarted_is_waited_for(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    database = Database(server.create_database("restarted"))
    tickets = Tickets(database, "flowers", "trial")
    tickets.issue(1)
    stopper = threading.Timer(0.2, server.restart)
    stopper.start()
    while stopper.is_alive():
        assert tickets.counts() == (1, 0)
        time.sleep(0.01)
    stopper.join()
    assert tickets.counts() == (1, 0)
    assert [lease.number for lease in claim(database, tickets, "a")] == [0]
    database.engine.dispose()


# Device seconds


def spend(database: Database, lease: Lease, used: float, step: str = "credit_progress") -> bool:
    return database.run_with_retry(
        lambda session: getattr(tickets_module, step)(
            session, lease, *((LONG,) if step in ("prove", "credit_progress") else ()), used=used
        )
    )


def test_device_seconds_are_those_of_the_leases_that_were_valid(database: Database, tickets: Tickets) -> None:
    [first] = claim(database, tickets, "a", 0.0)
    assert first.used_seconds == 0.0
    # Said twice, as after an answer that was lost, they count once.
    assert spend(database, first, 2.0)
    assert spend(database, first, 2.0)
    database.run_with_retry(lambda session: tickets_module.expire(session, "flowers", ["a"]))
    [second] = claim(database, tickets, "b")
    assert (second.number, second.used_seconds) == (first.number, 2.0)
    for step in ("prove", "credit_progress", "finish", "release"):
        assert not spend(database, first, 50.0, step)
    assert tickets.use().seconds == 2.0
    assert spend(database, second, 3.5, "prove")
    assert prove(database, second)
    assert spend(database, second, 4.0, "release")
    [third] = claim(database, tickets, "c")
    assert third.used_seconds == 4.0
    assert spend(database, third, 6.0, "finish")
    use = tickets.use()
    assert (use.issued, use.done, use.begun, use.seconds, use.workers) == (3, 1, 0, 6.0, 0)
    assert Tickets(database, "flowers", "final").use().seconds == 0.0


def test_when_a_budget_is_spent_only_what_was_begun_is_leased(database: Database, tickets: Tickets) -> None:
    [lease] = claim(database, tickets, "a", 0.0)
    spend(database, lease, 5.0)

    def claimed(budget: float | None) -> list[int]:
        def work(session: Session) -> list[Lease]:
            leases = tickets.claim(session, "b", LONG, 3, budget)
            session.rollback()
            return leases

        return [lease.number for lease in database.run_with_retry(work)]

    database.run_with_retry(lambda session: tickets_module.expire(session, "flowers", ["a"]))
    assert claimed(None) == [0, 1, 2]
    assert claimed(5.5) == [0, 1, 2]
    assert claimed(5.0) == claimed(0.0) == [0]
    # Where nothing was used, nothing is left of a budget of nothing.
    with database.session() as session:
        assert Tickets(database, "birds", "trial").claim(session, "b", LONG, 3, 0.0) == []
    assert tickets.use().begun == 1


def test_seconds_of_older_versions_are_filled_in_where_none_are_known(database: Database, tickets: Tickets) -> None:
    [lease] = claim(database, tickets, "a")
    spend(database, lease, 5.0, "finish")
    tickets.fill_used_seconds({0: 99.0, 1: 2.0})
    assert tickets.use().seconds == 7.0


# What each step leaves in the row


def step(database: Database, name: str, lease: Lease, *given: float, **named: float) -> bool:
    return database.run_with_retry(lambda session: getattr(tickets_module, name)(session, lease, *given, **named))


def left(tickets: Tickets) -> list[float]:
    return [held.seconds_left for held in tickets.held()]


@pytest.mark.parametrize("name", ["prove", "credit_progress"])
def test_a_proof_sets_the_expiry_anew(database: Database, tickets: Tickets, name: str) -> None:
    [lease] = claim(database, tickets, "a", seconds=10.0)
    assert left(tickets) == [pytest.approx(10.0, abs=5)]
    assert step(database, name, lease, 500.0)
    assert left(tickets) == [pytest.approx(500.0, abs=20)]
    assert step(database, name, lease, -7.0)
    assert left(tickets) == [pytest.approx(-7.0, abs=5)]


def test_renewal_concerns_the_given_leases_that_are_valid(database: Database, tickets: Tickets) -> None:
    first, second, third = claim(database, tickets, "a", seconds=10.0, limit=3)
    assert finish(database, third)
    stale = replace(second, token=second.token - 1)
    for leases, good in (([first, stale, third], {first.ticket}), ([stale], set()), ([], set())):
        assert database.run_with_retry(lambda session, each=leases: tickets_module.renew(session, each, 500.0)) == good
    assert left(tickets) == [pytest.approx(500.0, abs=20), pytest.approx(10.0, abs=5)]


def test_what_is_done_stays_done_and_belongs_to_nobody(database: Database, tickets: Tickets) -> None:
    [lease] = claim(database, tickets, "a", seconds=-1)
    assert finish(database, lease)
    assert tickets.held() == []
    assert not step(database, "release", lease)
    assert not step(database, "release_crashed", lease)
    database.run_with_retry(lambda session: tickets_module.expire(session, "flowers", ["a"]))
    assert [each.number for each in claim(database, tickets, "b", limit=9)] == [1, 2]
    assert tickets.counts() == (3, 1)
    assert not tickets.exhausted()
    for number in (1, 2):
        held = next(each for each in tickets.held() if each.number == number)
        assert held.owner == "b"
    with database.session() as session:
        assert tickets_module.owners(session, "flowers") == {"b"}
        assert tickets_module.owners(session, "birds") == tickets_module.owners(session, "zebras") == set()


def test_all_done_is_exhausted_and_so_are_no_tickets(database: Database, tickets: Tickets) -> None:
    for lease in claim(database, tickets, "a", limit=3):
        assert not tickets.exhausted()
        assert finish(database, lease)
    assert tickets.exhausted()
    assert Tickets(database, "birds", "trial").exhausted()


def test_a_lost_device_counts_as_a_crash_and_a_release_as_none(database: Database, tickets: Tickets) -> None:
    [lease] = claim(database, tickets, "a")
    for expected in (1, 2):
        assert step(database, "release_crashed", lease)
        assert tickets.held() == []
        [lease] = claim(database, tickets, "a")
        assert (lease.number, lease.lapses, lease.token) == (0, expected, 1 + expected)
    assert step(database, "release", lease)
    [lease] = claim(database, tickets, "b")
    assert lease.lapses == 2
    assert step(database, "prove", lease, LONG)
    assert [held.lapses for held in tickets.held()] == [2]
    assert step(database, "credit_progress", lease, LONG)
    assert [held.lapses for held in tickets.held()] == [0]


def test_an_old_token_changes_nothing(database: Database, tickets: Tickets) -> None:
    [lease] = claim(database, tickets, "a")
    for token in (lease.token - 1, lease.token + 1):
        other = replace(lease, token=token)
        for name in ("prove", "credit_progress"):
            assert not step(database, name, other, 500.0)
        for name in ("finish", "release"):
            assert not step(database, name, other)
        assert not step(database, "release_crashed", other)
    assert left(tickets) == [pytest.approx(LONG, abs=20)]
    assert tickets.counts() == (3, 0)


def test_only_named_owners_of_the_study_lose_their_leases(database: Database, tickets: Tickets) -> None:
    others = [Tickets(database, study, "trial") for study in ("birds", "zebras")]
    for each in others:
        each.issue(1)
        claim(database, each, "a")
    for owner in "abc":
        claim(database, tickets, owner)
    database.run_with_retry(lambda session: tickets_module.expire(session, "flowers", ["a", "c"]))
    assert [seconds > 0 for seconds in left(tickets)] == [False, True, False]
    assert all(left(each)[0] > 0 for each in others)
    with database.session() as session:
        assert tickets_module.owners(session, "flowers") == {"a", "b", "c"}


def test_who_is_excused_is_expired_but_for_some_and_counts_no_crash(database: Database, tickets: Tickets) -> None:
    first, second, _ = (claim(database, tickets, owner)[0] for owner in "aab")

    def excused(study: str, owner: str, but: list[int]) -> list[int]:
        return database.run_with_retry(
            lambda session: tickets_module.expire_without_penalty(session, study, owner, but)
        )

    assert excused("flowers", "a", [first.ticket, second.ticket]) == []
    assert excused("birds", "a", []) == excused("zebras", "a", []) == []
    assert [seconds > 0 for seconds in left(tickets)] == [True, True, True]
    assert excused("flowers", "a", [first.ticket]) == [second.ticket]
    assert [seconds > 0 for seconds in left(tickets)] == [True, False, True]
    [again] = claim(database, tickets, "c", limit=9)
    assert (again.ticket, again.lapses) == (second.ticket, 0)
    assert finish(database, again)
    assert excused("flowers", "c", []) == []


def test_readers_see_numbers_owners_crashes_and_subjects_in_order(database: Database) -> None:
    finals = Tickets(database, "flowers", "final")
    finals.issue_for(["full-3 1000", "lp_ft-7 1000"])
    claim(database, finals, "a", seconds=-1)
    [lease] = claim(database, finals, "b")
    claim(database, finals, "c")
    assert [(held.number, held.owner, held.lapses, held.subject) for held in finals.held()] == [
        (0, "b", 1, "full-3 1000"),
        (1, "c", 0, "lp_ft-7 1000"),
    ]
    assert (lease.number, lease.subject, lease.owner) == (0, "full-3 1000", "b")
    assert Tickets(database, "flowers", "trial").held() == []


def test_use_counts_what_was_begun_and_those_that_hold_some(database: Database, tickets: Tickets) -> None:
    tickets.issue(6)
    use = tickets.use()
    assert (use.issued, use.done, use.begun, use.seconds, use.workers) == (6, 0, 0, 0.0, 0)
    one, two, _ = claim(database, tickets, "a", limit=3)
    [other] = claim(database, tickets, "b")
    claim(database, tickets, "gone", seconds=-1)
    assert spend(database, one, 1.5, "finish")
    assert spend(database, two, 2.0, "release")
    assert spend(database, other, 4.0, "prove")
    use = tickets.use()
    # Begun: two, which nobody holds now, the third of a, b's, and that of the one that has gone.
    assert (use.issued, use.done, use.begun, use.seconds, use.workers) == (6, 1, 4, 7.5, 2)


def test_seconds_are_filled_in_only_for_the_tickets_named(database: Database, tickets: Tickets) -> None:
    finals = Tickets(database, "flowers", "final")
    finals.issue(2)
    tickets.fill_used_seconds({1: 2.0, 2: 3.0, 9: 50.0})
    assert tickets.use().seconds == 5.0
    assert finals.use().seconds == 0.0
    tickets.fill_used_seconds({0: 1.0, 1: 99.0})
    assert tickets.use().seconds == 6.0
    assert [lease.used_seconds for lease in claim(database, tickets, "a", limit=3)] == [1.0, 2.0, 3.0]


def test_a_claim_takes_as_many_as_it_may_and_makes_new_tokens(database: Database, tickets: Tickets) -> None:
    leases = claim(database, tickets, "a", limit=2)
    assert [(lease.number, lease.token, lease.lapses, lease.used_seconds) for lease in leases] == [
        (0, 1, 0, 0.0),
        (1, 1, 0, 0.0),
    ]
    assert len({lease.ticket for lease in leases}) == 2
    assert [lease.number for lease in claim(database, tickets, "b")] == [2]
    assert claim(database, tickets, "c", limit=5) == []


class Contested:
    """A database whose transactions meet another process's tickets some times."""

    def __init__(self, error: BaseException, times: int) -> None:
        self.error, self.left, self.asked = error, times, 0

    def run_with_retry(self, work: object) -> None:
        self.asked += 1
        self.left -= 1
        if self.left >= 0:
            raise UnreachableError("no answer") from self.error


def test_who_issues_while_others_do_tries_again_but_not_for_ever() -> None:
    clash = IntegrityError("insert", {}, Exception("unique"))
    for times, refused in ((20, False), (21, True)):
        database = Contested(clash, times)
        contested = Tickets(database, "flowers", "trial")  # pyright: ignore[reportArgumentType]
        if refused:
            with pytest.raises(UnreachableError):
                contested.issue(1)
        else:
            contested.issue(1)
        assert database.asked == 21
    # Other errors are no contest.
    database = Contested(OSError("gone"), 1)
    with pytest.raises(UnreachableError):
        Tickets(database, "flowers", "trial").issue(1)  # pyright: ignore[reportArgumentType]
    assert database.asked == 1


def test_a_ticket_that_is_opened_again_has_no_crashes_of_before(database: Database, tickets: Tickets) -> None:
    [lease] = claim(database, tickets, "a", seconds=-1)
    [lease] = claim(database, tickets, "b")
    assert lease.lapses == 1
    assert finish(database, lease)
    database.run_with_retry(lambda session: ticket_repair.set_done(session, lease.ticket, done=False))
    [again] = claim(database, tickets, "c")
    assert (again.number, again.lapses) == (0, 0)
    # Of what is not recorded, nothing is used.
    assert Lease(1, 0, None, "a", token=1, lapses=0).used_seconds == 0.0
