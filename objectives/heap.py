"""The C library's heap: what freed memory it keeps for the next allocation, and what it gives back to the system.

glibc serves a large tensor by a mapping of its own, or from the end of its heap, and gives both back as soon as they
are free. A training frees and allocates the same tensors in every step, and the system clears each page again. Other
C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 2**30


def keep_freed_memory() -> bool:
    """Keep freed memory for the next allocation, until :func:`give_back` is called; returns whether that was possible.

    It holds for the whole process and cannot be undone, so it belongs where a process of ours starts to train.
    """
    library = _glibc()
    return library is not None and all(
        library.mallopt(parameter, _KEPT) for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD)
    )


def give_back() -> None:
    """Give all free memory back to the system."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library of this process; None for another than glibc."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018
    # Windows has no library without a name, other C libraries not this function.
    except (OSError, TypeError, AttributeError):
        return None
    return library
