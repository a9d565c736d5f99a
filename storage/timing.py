"""Timing: how often the processes of a study renew, write, look and send, in seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .errors import UnusableError

# Environment variables by the field that they set.
VARIABLES = {"lease": "FROSTLINE_LEASE_SECONDS", "checkpoint": "FROSTLINE_CHECKPOINT_SECONDS"}


@dataclass(frozen=True)
class Timing:
    """Intervals of the processes that work on a study or watch it, in seconds.

    Attributes:
        lease: Time without a heartbeat after which a lease expires. Dead processes of the same machine are noticed at
            once.
        look: Time between two attempts of an idle worker to claim work.
        report: Maximum age of what others see of a running trial, checked when it reports.
        first_report: The same until its first report is written, which proves that the trial does not kill its workers
            at once.
        restart: Time between the end of a slot and its restart.
        checkpoint: Minimum time before the first checkpoint of a training and between two.
        checkpoint_share: Maximum share of the time that checkpoints may take: after a slow one, the next waits longer.
        sample: Time between two samples of a machine's metrics.
        send: Time between two reads of the journal by the sender.
        send_patience: Time without progress after which the last upload of a session is given up.
        watch: Time between two polls of a live view.
        watch_recent: A worker without a lease for a shorter time is between two trials.
        watch_idle: Without a worker for this long, a study counts as interrupted; loading data takes less time.

    Examples:
        >>> from frostline.storage.timing import Timing
        >>> Timing(lease=2.0).checkpoint
        5.0
    """

    lease: float = 20.0
    look: float = 0.5
    report: float = 1.0
    first_report: float = 0.2
    restart: float = 1.0
    checkpoint: float = 5.0
    checkpoint_share: float = 0.1
    sample: float = 10.0
    send: float = 1.0
    send_patience: float = 60.0
    watch: float = 1.0
    watch_recent: float = 3.0
    watch_idle: float = 60.0

    @classmethod
    def from_environment(cls) -> Timing:
        """Return the defaults, changed by environment variables: ``$FROSTLINE_LEASE_SECONDS`` for ``lease``, ...

        Raises:
            UnusableError: A variable is no number.
        """
        given = {field: os.environ[variable] for field, variable in VARIABLES.items() if variable in os.environ}
        return cls(**{field: _seconds(VARIABLES[field], text) for field, text in given.items()})


def _seconds(variable: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UnusableError(f"{variable} must be a number of seconds, got {text!r}.") from None
