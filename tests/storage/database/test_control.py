"""What is wished of all workers of a study."""

from __future__ import annotations

from frostline.storage.database.control import PAUSE, RUN, STOP, Wish
from frostline.storage.database.engine import Database


def test_the_last_wish_counts_for_its_study_alone(database_url: str) -> None:
    here, elsewhere = Database(database_url), Database(database_url)
    assert Wish(here, "flowers").get() == RUN
    Wish(here, "flowers").set(PAUSE)
    assert Wish(elsewhere, "flowers").get() == PAUSE
    assert Wish(elsewhere, "birds").get() == RUN
    Wish(elsewhere, "flowers").set(STOP)
    Wish(elsewhere, "flowers").set(STOP)
    assert Wish(here, "flowers").get() == STOP
    for database in (here, elsewhere):
        database.engine.dispose()
