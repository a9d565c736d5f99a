"""Python's garbage collector in a process that trains: it leaves out the objects of libraries."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def libraries_frozen() -> Iterator[None]:
    """Leave all present objects out of garbage collections within the block.

    The collection after each trial then skips the objects of all libraries. This holds for the whole process, so it
    belongs where a process starts to train. A process that has frozen its objects before keeps them as they are.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
