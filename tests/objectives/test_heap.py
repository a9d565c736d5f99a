"""Freed memory goes back to the system when it is asked for, measured by the system's own count."""

import subprocess
import sys

import pytest

_PROGRAM = """
import numpy as np, psutil
from frostline.objectives.heap import give_back, keep_freed_memory

if not keep_freed_memory():
    print("no glibc")
    raise SystemExit
resident = lambda: psutil.Process().memory_info().rss // 2**20
before = resident()
arrays = [np.ones(2**20) for _ in range(40)]  # 8 MB each
del arrays
kept = resident()
give_back()
print(before, kept, resident())
"""


def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    said = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True).stdout
    if said.startswith("no"):
        pytest.skip("the C library is not glibc")
    before, kept, given_back = map(int, said.split())
    assert kept > before + 300
    assert given_back < before + 30
