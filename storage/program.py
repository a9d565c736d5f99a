"""A program of ours, from the start of its process to the end: without the seconds that Python takes for garbage."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress

# New objects between two collections, in place of 700: the libraries are 400,000, which are all kept.
_NEW_OBJECTS = 50_000


def run_program(work: Callable[[], object]) -> None:
    """Do the work of a process of ours, which imports its libraries when it is called, and nothing after it.

    Collections are rare: while libraries are imported, they take a third of the time. At its end the process skips
    Python's cleanup of the libraries, another second; threads are joined, and what was registered for the end runs.

    Args:
        work: Returns, or raises ``SystemExit``. After any other exception the process ends as Python ends it.
    """
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    status: int | None = None

    def end() -> None:
        if status is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(status)

    # The first that is registered runs last.
    atexit.register(end)
    try:
        work()
        status = 0
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            status = ended.code or 0
        raise
