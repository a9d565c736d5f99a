"""What somebody wishes of all workers of a study, wherever they are: to run, to pause, to stop."""

from __future__ import annotations

from sqlalchemy import String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from .database import PATIENCE_SECONDS, Database, Table

RUN, PAUSE, STOP = "run", "pause", "stop"


class _WishRow(Table):
    __tablename__ = "frostline_wishes"

    study: Mapped[str] = mapped_column(String(250), primary_key=True)
    wish: Mapped[str] = mapped_column(String(16))


class Wish:
    """The wish for one study; ``run`` where nobody said anything.

    Args:
        database: Where it is kept.
        study: Its name.
    """

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._study = study

    def get(self, patience: float = PATIENCE_SECONDS) -> str:
        """``run``, ``pause`` or ``stop``.

        Args:
            patience: How many seconds to wait for a server that is away.
        """
        query = select(_WishRow.wish).where(_WishRow.study == self._study)
        return self._database.patiently(lambda session: session.scalar(query), patience) or RUN

    def set(self, wish: str) -> None:
        """Wish something else from now on."""

        def work(session: Session) -> None:
            session.execute(delete(_WishRow).where(_WishRow.study == self._study))
            session.add(_WishRow(study=self._study, wish=wish))

        self._database.patiently(work)
