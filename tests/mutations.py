"""Bytes that were damaged: seeded mutations of good ones, and bytes that never were good."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence

import numpy as np

# Classes that pickles asked for while a test ran; none may.
_UNPICKLED: list[str] = []
_LISTENING: list[bool] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        _UNPICKLED.append(".".join(map(str, arguments)))


def unpickled() -> list[str]:
    """What pickles have loaded in this process since the first call; pickles load code by naming it."""
    if not _LISTENING:
        sys.addaudithook(_hear)
        _LISTENING.append(True)
    return _UNPICKLED


class _Code:
    """Unpickled, it asks for a function."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code was run",)


def mutations(good: bytes, others: Sequence[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many damaged versions of some bytes, each with what was done.

    Args:
        good: What a reader reads.
        others: Other good files, parts of which may come into this one.
        count: How many.
        seed: Of what is chosen.
    """
    rng = np.random.default_rng(seed)
    kinds = (
        "flip",
        "bytes",
        "cut",
        "zeros",
        "delete",
        "insert",
        "double",
        "splice",
        "swap",
        "noise",
        "pickle",
        "empty",
    )
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield f"{kind} {seed}/{number}", _mutate(kind, good, others, rng)


def _mutate(kind: str, good: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    content, place = bytearray(good), int(rng.integers(0, max(1, len(good))))
    length = int(rng.integers(1, 1 + min(64, max(1, len(good) - place))))
    match kind:
        case "flip":
            content[place] ^= 1 << int(rng.integers(8))
        case "bytes":
            content[place : place + length] = rng.bytes(len(content[place : place + length]))
        case "cut":
            del content[place:]
        case "zeros":
            content[place:] = bytes(len(content) - place)
        case "delete":
            del content[place : place + length]
        case "insert":
            content[place:place] = rng.bytes(length)
        case "double":
            content[place:place] = content[place : place + length]
        case "splice":
            other = others[int(rng.integers(len(others)))]
            content[place:] = other[int(rng.integers(0, max(1, len(other)))) :]
        case "swap":
            half = content[place : place + length]
            del content[place : place + length]
            content[0:0] = half
        case "noise":
            return rng.bytes(int(rng.integers(1, 4096)))
        case "pickle":
            # Alone, and where a header would end.
            return pickle.dumps(_Code()) if rng.random() < 0.5 else bytes(content[:place]) + pickle.dumps(_Code())
        case _:
            return b""
    return bytes(content)
