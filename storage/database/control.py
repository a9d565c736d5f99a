"""The desired state of a study, which all its workers follow: run, pause or stop."""

from __future__ import annotations

from sqlalchemy import String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from .engine import PATIENCE_SECONDS, Database
from .schema import Table

RUN, PAUSE, STOP = "run", "pause", "stop"


class _ControlRow(Table):
    __tablename__ = "frostline_wishes"

    study: Mapped[str] = mapped_column(String(250), primary_key=True)
    wish: Mapped[str] = mapped_column(String(16))


class StudyControl:
    """The desired state of one study; ``run`` unless set.

    **Guarantees:**

    - The state is kept in the database until it is set again; it survives the end of every process.
    - :meth:`set` is atomic: a reader sees the old state or the new one. The last one set counts.
    - Any process may set it. Workers read it whenever they renew their leases, and follow after their current epoch.

    Args:
        database: Database that holds the state.
        study: Name of the study.

    Examples:
        >>> from frostline.storage.database import Database
        >>> from frostline.storage.database import PAUSE, StudyControl
        >>> control = StudyControl(Database("sqlite://"), "flowers")
        >>> control.get()
        'run'
        >>> control.set(PAUSE)
        >>> control.get()
        'pause'
    """

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._study = study

    def get(self, patience: float = PATIENCE_SECONDS) -> str:
        """Return ``run``, ``pause`` or ``stop``.

        Args:
            patience: Seconds to retry while the database server does not answer.

        Raises:
            UnreachableError: The database cannot be used.
        """
        query = select(_ControlRow.wish).where(_ControlRow.study == self._study)
        return self._database.run_with_retry(lambda session: session.scalar(query), patience) or RUN

    def set(self, wish: str) -> None:
        """Set the desired state: ``run``, ``pause`` or ``stop``.

        Raises:
            UnreachableError: The database cannot be used.
        """

        def work(session: Session) -> None:
            session.execute(delete(_ControlRow).where(_ControlRow.study == self._study))
            session.add(_ControlRow(study=self._study, wish=wish))

        self._database.run_with_retry(work)
