"""The early end of a search: recorded with the tickets that it withdraws, in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import event

from frostline.storage.database.endings import EndingsTable
from frostline.storage.database.engine import Database
from frostline.storage.database.tickets import Lease, Tickets, finish, release

WHY = {"chance": 0.04, "chances": {"full": 0.04}, "trials": None}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.engine.dispose()


def claim(database: Database, tickets: Tickets, owner: str = "worker") -> list[Lease]:
    return database.run_with_retry(lambda session: tickets.claim(session, owner, 60.0))


def test_an_end_withdraws_what_nobody_has_begun(database: Database) -> None:
    tickets, endings = Tickets(database, "flowers", "trial"), EndingsTable(database, "flowers")
    tickets.issue(6)
    done, cut_off, held = (claim(database, tickets)[0] for _ in range(3))
    database.run_with_retry(lambda session: finish(session, done))
    database.run_with_retry(lambda session: release(session, cut_off))
    assert endings.get() is None
    endings.end(WHY)
    assert endings.get() == WHY
    assert tickets.counts() == (3, 1)
    # What was cut off is ended by another worker; nothing else is there.
    assert [lease.number for lease in claim(database, tickets, "another")] == [cut_off.number]
    assert not claim(database, tickets, "another")
    assert database.run_with_retry(lambda session: finish(session, held))


def test_an_end_leaves_other_studies_and_finals_alone(database: Database) -> None:
    others = [Tickets(database, "birds", "trial"), Tickets(database, "flowers", "final")]
    for other in others:
        other.issue(2)
    EndingsTable(database, "flowers").end(WHY)
    assert [other.counts() for other in others] == [(2, 0), (2, 0)]
    assert EndingsTable(database, "birds").get() is None


def test_a_later_end_replaces_an_earlier_one_and_tickets_can_be_issued_again(database: Database) -> None:
    tickets, endings = Tickets(database, "flowers", "trial"), EndingsTable(database, "flowers")
    tickets.issue(3)
    [lease] = claim(database, tickets)
    endings.end(WHY)
    endings.end({"chance": 0.01})
    assert endings.get() == {"chance": 0.01}
    assert tickets.counts() == (1, 0)
    tickets.issue(5)
    assert tickets.counts() == (5, 0)
    assert [each.number for each in claim(database, tickets)] == [lease.number + 1]


def test_an_end_that_fails_withdraws_nothing(database: Database) -> None:
    tickets, endings = Tickets(database, "flowers", "trial"), EndingsTable(database, "flowers")
    tickets.issue(3)

    def fail(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.lstrip().upper().startswith("INSERT INTO FROSTLINE_ENDINGS"):
            raise RuntimeError("killed")

    event.listen(database.engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(RuntimeError, match="killed"):
            endings.end(WHY)
    finally:
        event.remove(database.engine, "before_cursor_execute", fail)
    assert endings.get() is None
    assert tickets.counts() == (3, 0)


def test_of_workers_that_claim_meanwhile_each_keeps_what_it_has(database: Database) -> None:
    tickets, endings = Tickets(database, "flowers", "trial"), EndingsTable(database, "flowers")
    tickets.issue(40)
    claimed: list[int] = []
    after: list[int] = []
    ended = threading.Event()

    def work(owner: str) -> None:
        own = Tickets(database, "flowers", "trial")
        for _ in range(8):
            late = ended.is_set()
            numbers = [lease.number for lease in claim(database, own, owner)]
            claimed.extend(numbers)
            after.extend(numbers if late else [])

    threads = [threading.Thread(target=work, args=(f"worker {place}",)) for place in range(4)]
    for thread in threads:
        thread.start()
    endings.end(WHY)
    ended.set()
    for thread in threads:
        thread.join()
    assert not after
    assert len(claimed) == len(set(claimed)) == tickets.counts()[0]
