"""Python's garbage collector in a process that trains: it leaves out the objects of libraries and of earlier trials."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Trials after which what a run has kept since is left out, too. A collection of all objects takes 0.2 s.
REFREEZE_TRIALS = 256


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


def freeze_kept() -> None:
    """Leave out what is still in use as well, within :func:`libraries_frozen`.

    A run keeps the record of every trial: looking through those of thousands after each trial takes longer and longer.
    What was left out before and is garbage by now is collected first.
    """
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()
        gc.freeze()
