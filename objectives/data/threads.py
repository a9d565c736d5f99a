"""A map over many threads, with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

# Images in flight: enough to keep every thread busy, few enough to bound memory.
_IN_FLIGHT = 256


def in_threads(function: Callable[[Any], Any], values: Iterable[Any]) -> Iterator[Any]:
    """Map in order. Threads are enough: decoding and hashing release the interpreter lock."""
    threads = min(32, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    pool, waiting = ThreadPoolExecutor(threads), deque[Future[Any]]()
    try:
        for value in values:
            waiting.append(pool.submit(function, value))
            if len(waiting) == _IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
