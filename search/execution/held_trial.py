"""A trial that a worker holds: its lease, and what of it is not in the database yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from ...storage.database import Lease, credit_progress, finish, prove
from ..study import PendingChanges


@dataclass
class HeldTrial:
    """A trial that this worker holds.

    Attributes:
        lease: Claim on it; the keeper knows whether it is still valid.
        pending: Changes that are not written yet.
        proven: Whether a report of it was written.
        unsure: Whether its changes were written last without learning that they were.
        seconds: Device seconds of this worker.
        written_seconds: Those of them that are in the database.
    """

    lease: Lease
    pending: PendingChanges = field(default_factory=PendingChanges)
    proven: bool = False
    unsure: bool = False
    seconds: float = 0.0
    written_seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Return whether something of it is not in the database yet."""
        return bool(self.pending) or self.seconds > self.written_seconds

    @property
    def used_seconds(self) -> float:
        """Return the device seconds of the trial, of all workers."""
        return self.lease.used_seconds + self.seconds

    def prove(self, session: Session, seconds: float) -> bool:
        """Return whether the trial is still this worker's; renew its lease for so long, or end it with the trial."""
        if self.pending.ends:
            return finish(session, self.lease, self.used_seconds)
        if self.pending.reports:
            return credit_progress(session, self.lease, seconds, self.used_seconds)
        return prove(session, self.lease, seconds, self.used_seconds)

    def written(self) -> None:
        """Note that the pending changes are in the database."""
        self.proven, self.unsure = self.proven or self.pending.reports, False
        self.written_seconds = self.seconds
        self.pending = PendingChanges()
