"""A map over threads: in order, with few values in flight, and at its end when a value fails."""

from __future__ import annotations

import itertools
import time

import pytest

from frostline.objectives.data.threads import in_threads


def test_results_come_in_the_order_of_the_values() -> None:
    assert list(in_threads(lambda value: time.sleep(0.002 * (value % 3)) or value, range(40))) == list(range(40))


def test_a_result_waits_for_no_more_than_its_own_value() -> None:
    """Memory is bounded: few values are taken before the first result is."""
    begun: list[int] = []
    results = in_threads(lambda value: begun.append(value) or value, range(5000))
    assert list(itertools.islice(results, 10)) == list(range(10))
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(begun) < 500


def test_what_a_value_raises_is_raised_and_ends_the_rest() -> None:
    begun: list[int] = []

    def fail(value: int) -> int:
        begun.append(value)
        return 1 // (3 - value)

    with pytest.raises(ZeroDivisionError):
        list(in_threads(fail, range(5000)))
    assert len(begun) < 500
