"""Being asked to stop: Ctrl-C, SIGTERM, another machine. First politely, at the next epoch; the second time at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# How long the epoch under way may take to end. After a longer one the last checkpoint is not far behind.
GRACE_SECONDS = 5.0
# Exit status of a slot that was asked to end.
STOPPED = 128 + signal.SIGTERM


class Stopped(KeyboardInterrupt):
    """The work ends because somebody asked for it; what is not finished is given back."""


class Stopper:
    """Whether a worker was asked to stop.

    Args:
        grace: How many seconds after a signal the work ends where it is; None for never.

    Attributes:
        asked: Whether it was asked.
        signalled: Whether by a signal.
    """

    def __init__(self, grace: float | None = GRACE_SECONDS) -> None:
        self.asked = self.signalled = False
        self._grace = grace

    def ask(self) -> None:
        """Have the work stop at the next :meth:`check`; from any thread."""
        self.asked = True

    def check(self) -> None:
        """Call where nothing is lost by stopping.

        Raises:
            Stopped: Somebody asked for it.
        """
        if self.asked:
            raise Stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM ask while within; in another thread than the main one they cannot."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # A shell that starts a program in the background has it ignore Ctrl-C.
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
