"""The place of a slot, and its process as its supervisor sees it: work goes in, lines come out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class SlotSpec:
    """The place of a slot.

    Attributes:
        device: Device as torch names it in the slot's process.
        environment: Environment variables of the process.
        threads: Number of torch threads.
        launcher: Module that starts the slot elsewhere, with its arguments; empty for this machine.
    """

    device: str
    environment: dict[str, str]
    threads: int
    launcher: tuple[str, ...] = ()


class RunningSlot(Protocol):
    """A started slot, as its supervisor sees it."""

    @property
    def pid(self) -> int:
        """Return the process id."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal."""
        ...

    def begins(self) -> None:
        """Start the count of the slot's lifetime now."""
        ...

    def reap(self) -> tuple[int, float]:
        """Return the exit status of the ended slot, and its lifetime in seconds."""
        ...

    def reason(self, status: int) -> str:
        """Return the reason why the slot ended, in one line."""
        ...

    def killed_by_another(self, status: int) -> bool:
        """Return whether another process killed the slot, not the kernel for lack of memory."""
        ...


class SlotProcess:
    """A Python process that sends messages as a slot does.

    Args:
        program: Module with its arguments.
        work: Work, one line of JSON.
        environment: Environment variables besides this process's own.
        log: File for printed output.
        hear: Function called from a thread with each line, and with None after the process has ended.
        folder: Current folder of the process; None for this process's.
    """

    def __init__(
        self,
        program: Sequence[str],
        work: str,
        environment: Mapping[str, str],
        log: Path,
        hear: Callable[[str | None], None],
        folder: str | None = None,
    ) -> None:
        self._log = log
        self._began = time.monotonic()
        self._oom_kills = oom_kills()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as file:
            # A session of its own, so that Ctrl-C in the terminal reaches the supervisor only.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", *program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **environment},
                cwd=folder,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(work + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died already; its end says why
        threading.Thread(target=self._read, args=(hear,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def begins(self) -> None:
        """Start the count of the lifetime now, after the wait for a place."""
        self._began = time.monotonic()

    def reap(self) -> tuple[int, float]:
        """Wait for the ended process; return its exit status and its lifetime in seconds."""
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return status, time.monotonic() - self._began

    def reason(self, status: int) -> str:
        """Return the reason why the process ended, in one line."""
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        lines = self.log_lines()
        return lines[-1] if lines else f"exit status {status}"

    def killed_by_another(self, status: int) -> bool:
        """Return whether another process killed it, not the kernel for lack of memory; known for SIGKILL only."""
        return status == -signal.SIGKILL and self._oom_kills is not None and oom_kills() == self._oom_kills

    def log_lines(self) -> list[str]:
        """Return the printed lines."""
        return self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()

    def _read(self, hear: Callable[[str | None], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # The incomplete last line of a killed process is no message.
            if line.endswith("\n"):
                hear(line)
        hear(None)


def oom_kills() -> int | None:
    """Return how many processes this machine has killed for lack of memory; None if it does not report it."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return None
    return int(counts["oom_kill"]) if "oom_kill" in counts else None
