"""Being asked to stop: at the next check, after a while where it is, the second time at once."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from frostline.search.stopping import Stopped, Stopper


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heeded_at_the_next_check(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stopper = Stopper()
    with stopper.listening():
        stopper.check()
        os.kill(os.getpid(), number)
        assert stopper.signalled
        with pytest.raises(Stopped):
            stopper.check()
    assert signal.getsignal(number) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_second_signal_ends_the_work_where_it_is() -> None:
    with Stopper().listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_epoch_that_takes_too_long_is_cut_off() -> None:
    with Stopper(grace=0.1).listening():
        os.kill(os.getpid(), signal.SIGTERM)
        began = time.monotonic()
        with pytest.raises(Stopped):
            time.sleep(20)
    assert time.monotonic() - began < 10


def test_a_supervisor_has_no_such_limit() -> None:
    with Stopper(grace=None).listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_asked_by_another_machine_it_is_no_signal() -> None:
    stopper = Stopper()
    thread = threading.Thread(target=stopper.ask)
    thread.start()
    thread.join()
    assert (stopper.asked, stopper.signalled) == (True, False)
    with pytest.raises(Stopped):
        stopper.check()


def test_what_a_shell_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stopper = Stopper()
        with stopper.listening():
            os.kill(os.getpid(), signal.SIGINT)
            assert not stopper.asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_listened_to() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with Stopper().listening():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
