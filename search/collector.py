"""Python's garbage collector in a command that reads a study and ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Look for no garbage within the block, nor later for that of the block.

    Libraries and the trials of a study are a million objects that are all kept: looking through them again and again
    while they are made takes a seventh of the command's time, and once more at the end of the process another.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if on:
            gc.enable()
