"""Stop requests by Ctrl-C, SIGTERM or another machine: the first stops at the next epoch, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Time for the current epoch to end. If it takes longer, the last checkpoint is recent anyway.
GRACE_SECONDS = 5.0
# Exit status of a slot that was asked to stop.
STOPPED = 128 + signal.SIGTERM


class Stopped(KeyboardInterrupt):
    """The work was asked to stop; unfinished trials are released."""


class Stopper:
    """The stop request of a worker.

    Args:
        grace: Seconds from a signal until the work is interrupted; None for no limit.

    Attributes:
        asked: Whether a stop was requested.
        signalled: Whether a signal requested it.
    """

    def __init__(self, grace: float | None = GRACE_SECONDS) -> None:
        self.asked = self.signalled = False
        self._grace = grace

    def ask(self) -> None:
        """Request a stop at the next :meth:`check`; any thread may call this."""
        self.asked = True

    def check(self) -> None:
        """Stop here if a stop was requested; called where stopping loses no work.

        Raises:
            Stopped: A stop was requested.
        """
        if self.asked:
            raise Stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into stop requests while the context is open; only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # A program that a shell starts in the background ignores Ctrl-C.
        heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        for number in heard:
            signal.signal(number, self._hear)
        alarm = signal.signal(signal.SIGALRM, _now)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
            for number in heard:
                signal.signal(number, before[number])

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.signalled:
            raise Stopped
        self.asked = self.signalled = True
        signal.setitimer(signal.ITIMER_REAL, self._grace or 0)


def _now(number: int, frame: FrameType | None) -> None:
    raise Stopped
