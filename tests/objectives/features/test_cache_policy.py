"""What a cache keeps: within the budget, the least worth out first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.objectives.errors import InvalidInputError
from frostline.objectives.features.cache_policy import CacheEntry, choose_evictions, is_worth_keeping
from frostline.objectives.sizes import parse_size

ENTRIES = st.builds(CacheEntry, st.integers(1, 500), st.floats(1e-3, 1e3), st.floats(0, 30 * 86400))


@given(st.lists(ENTRIES, max_size=12), st.lists(ENTRIES, min_size=1, max_size=12), st.integers(0, 2000))
def test_a_cache_stays_within_its_budget_and_never_gives_up_more_for_less(
    first: list[CacheEntry], later: list[CacheEntry], budget: int
):
    held: dict[str, CacheEntry] = {}
    for place, newcomer in enumerate([*first, *later]):
        victims = choose_evictions(held, newcomer, budget)
        if victims is None:
            kept = sum(
                entry.bytes for entry in held.values() if entry.saved_seconds_per_byte > newcomer.saved_seconds_per_byte
            )
            assert kept + newcomer.bytes > budget
            continue
        out = [held.pop(victim) for victim in victims]
        assert all(gone.saved_seconds_per_byte <= newcomer.saved_seconds_per_byte for gone in out)
        assert all(
            (gone.saved_seconds_per_byte, -gone.idle) <= (stays.saved_seconds_per_byte, -stays.idle)
            for gone in out
            for stays in held.values()
        )
        held[str(place)] = newcomer
        used = sum(entry.bytes for entry in held.values())
        assert used <= budget
        assert not out or used + out[-1].bytes > budget


def test_worth_is_saved_seconds_per_byte_and_fades_unused():
    assert CacheEntry(100, 2.0).saved_seconds_per_byte == CacheEntry(50, 1.0).saved_seconds_per_byte
    assert CacheEntry(100, 8.0).saved_seconds_per_byte == CacheEntry(100, 1.0).saved_seconds_per_byte + 3
    assert CacheEntry(100, 1.0, idle=3 * 86400).saved_seconds_per_byte == CacheEntry(100, 0.25).saved_seconds_per_byte


def test_equals_leave_by_their_last_use_and_nothing_leaves_without_need():
    held = {"old": CacheEntry(40, 1.0, 60.0), "new": CacheEntry(40, 1.1, 5.0)}
    assert choose_evictions(held, CacheEntry(40, 1.05), 100) == ["old"]
    assert choose_evictions(held, CacheEntry(20, 1.0), 100) == []
    assert choose_evictions(held, CacheEntry(40, 0.1), 100) is None
    assert choose_evictions(held, CacheEntry(101, 1e6), 100) is None


@pytest.mark.parametrize(
    ("seconds", "size", "kept"),
    [
        (10e-3, 4096, True),  # the last features of a deep network
        (10e-3, 603_062, True),  # tokens of 196 patches as large as the image, and a class token
        (10e-3, 800_000, False),  # larger than the image
        (5e-6, 4096, False),  # computed as fast as read
    ],
)
def test_features_are_kept_where_reading_them_is_cheaper_than_computing(seconds: float, size: int, kept: bool):
    assert is_worth_keeping(seconds, size, image_size=600_000, seconds_per_byte=1e-9) is kept


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9),
        ("200 mb", 2 * 10**8),
        ("1.5GiB", 3 * 2**29),
        ("0", 0),
        ("auto", None),
        ("64k", ...),
        ("much", ...),
        ("-1GB", ...),
        ("", ...),
    ],
)
def test_sizes_are_read_or_refused_with_what_to_write(text: str, size: int | None):
    if size is ...:
        with pytest.raises(InvalidInputError, match=r"--cache-budget .* is not a size\. Write .* 200MB"):
            parse_size(text)
    else:
        assert parse_size(text) == size
