"""Programs that skip Python's cleanup end as Python would have ended them."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading, time
from frostline.storage.program import run_program

def work():
    import gc
    assert gc.get_threshold()[0] == 50_000
    atexit.register(lambda: print("at the end"))
    threading.Thread(target=lambda: (time.sleep(0.2), print("the thread"))).start()
    # Neither text fills a buffer.
    print("the work")
    print("a word", file=sys.stderr, end="")
    {end}

class Lasting:
    def __del__(self):
        print("cleanup")

lasting = Lasting()
run_program(work)
print("what follows")
"""


def run(end: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM.format(end=end)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("end", "status", "follows"),
    [("pass", 0, ["what follows"]), ("sys.exit()", 0, []), ("sys.exit(0)", 0, []), ("sys.exit(3)", 3, [])],
)
def test_what_was_begun_ends_then_the_status_is_told_and_nothing_is_cleaned_up(
    end: str, status: int, follows: list[str]
) -> None:
    ended = run(end)
    assert ended.returncode == status
    # Python waits for threads first, and then runs what was registered.
    assert ended.stdout.splitlines() == ["the work", *follows, "the thread", "at the end"]
    assert ended.stderr == "a word"


@pytest.mark.parametrize(
    ("end", "said"), [("sys.exit('no disk')", "no disk"), ("raise ValueError('odd')", "ValueError: odd")]
)
def test_errors_are_told_and_python_ends_the_process(end: str, said: str) -> None:
    ended = run(end)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith(said)
    assert ended.stdout.splitlines()[-1] == "cleanup"
