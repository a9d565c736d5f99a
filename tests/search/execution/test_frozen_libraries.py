"""What a collection looks through while trials run: neither libraries nor what earlier trials keep."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from frostline.search.execution.frozen_libraries import freeze_kept, libraries_frozen


@pytest.fixture(autouse=True)
def _nothing_frozen_before() -> Iterator[None]:
    """The process of the tests has frozen its objects, too."""
    gc.unfreeze()
    yield
    gc.freeze()


class Node:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.own = self


def test_what_trials_keep_is_left_out_and_their_garbage_is_collected_even_later() -> None:
    with libraries_frozen():
        kept = [Node() for _ in range(1000)]
        gc.collect()
        before = len(gc.get_objects())
        freeze_kept()
        assert len(gc.get_objects()) <= before - len(kept)
        last = weakref.ref(kept.pop())
        # It was left out when it was still in use.
        gc.collect()
        assert last() is not None
        freeze_kept()
        assert last() is None
    assert gc.get_freeze_count() == 0


def test_nothing_is_left_out_of_a_process_that_does_not_train() -> None:
    freeze_kept()
    assert gc.get_freeze_count() == 0
