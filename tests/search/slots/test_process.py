"""A slot's process as who started it sees it: how it ended, and by whose hand."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from frostline.search.slots import process as process_module
from frostline.search.slots.process import SlotProcess, oom_kills

# Reads its input to the end.
IDLE = ("json.tool",)


def ended_by(number: int, log: Path) -> tuple[SlotProcess, int]:
    """A process that a signal has ended, and its status."""
    gone = threading.Event()
    process = SlotProcess(IDLE, "{}", {}, log, lambda line: gone.set() if line is None else None)
    process.signal(number)
    assert gone.wait(30)
    status, _ = process.reap()
    return process, status


def test_who_is_killed_by_another_is_told_from_who_is_killed_for_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "oom_kills", lambda: 7)
    process, status = ended_by(signal.SIGKILL, tmp_path / "log")
    assert status == -signal.SIGKILL
    assert process.reason(status) == "killed by SIGKILL"
    assert process.killed_by_another(status)
    assert not process.killed_by_another(-signal.SIGSEGV)
    assert not process.killed_by_another(1)
    monkeypatch.setattr(process_module, "oom_kills", lambda: 8)
    assert not process.killed_by_another(status)


def test_where_the_machine_does_not_count_nobody_is_excused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "oom_kills", lambda: None)
    process, status = ended_by(signal.SIGKILL, tmp_path / "log")
    assert not process.killed_by_another(status)


@pytest.mark.skipif(not Path("/proc/vmstat").exists(), reason="no /proc/vmstat on this system")
def test_linux_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "nr_free_pages 7\noom_kill 12\nthp_split 0\n"
    monkeypatch.setattr(Path, "read_text", lambda self: lines)
    assert oom_kills() == 12
    monkeypatch.setattr(Path, "read_text", lambda self: "nr_free_pages 7\n")
    assert oom_kills() is None
