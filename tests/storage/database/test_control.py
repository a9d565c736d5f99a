"""What is wished of all workers of a study."""

from __future__ import annotations

from frostline.storage.database.control import PAUSE, RUN, STOP, StudyControl
from frostline.storage.database.engine import Database


def test_the_last_wish_counts_for_its_study_alone(database_url: str) -> None:
    here, elsewhere = Database(database_url), Database(database_url)
    assert StudyControl(here, "flowers").get() == RUN
    StudyControl(here, "flowers").set(PAUSE)
    assert StudyControl(elsewhere, "flowers").get() == PAUSE
    assert StudyControl(elsewhere, "birds").get() == RUN
    StudyControl(elsewhere, "flowers").set(STOP)
    StudyControl(elsewhere, "flowers").set(STOP)
    assert StudyControl(here, "flowers").get() == STOP
    for database in (here, elsewhere):
        database.engine.dispose()
