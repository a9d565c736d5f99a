"""Work of several threads at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def errors_in_threads(count: int, work: Callable[[], None]) -> list[BaseException]:
    """Call a function in so many threads at once; return what the calls raised."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work) for _ in range(count)]
    return [error for future in futures if (error := future.exception()) is not None]
