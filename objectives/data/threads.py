"""A map over many threads, with bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Images in flight: enough to keep every thread busy, few enough to bound memory.
_BATCH = 256


def in_threads(function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
    """Map in order, one batch at a time. Threads are enough: decoding and hashing release the interpreter lock."""
    threads = min(32, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(values), _BATCH):
            yield from pool.map(function, values[start : start + _BATCH])
