"""Where a slot runs, and its process as seen by who started it: told what to do, heard line by line."""

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
class Place:
    """Where a slot runs.

    Attributes:
        device: As torch names it, seen from within.
        environment: What the process sees of the machine.
        threads: Of torch.
        launcher: Module that brings the slot to where it runs, with its arguments; empty for this machine.
    """

    device: str
    environment: dict[str, str]
    threads: int
    launcher: tuple[str, ...] = ()


class RunningSlot(Protocol):
    """A started slot, as its supervisor sees it."""

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal."""
        ...

    def begins(self) -> None:
        """Count its life from now."""
        ...

    def reap(self) -> tuple[int, float]:
        """Exit status of the slot, which has ended, and how many seconds it lived."""
        ...

    def reason(self, status: int) -> str:
        """Why it ended, in one line."""
        ...

    def killed_by_another(self, status: int) -> bool:
        """Whether another process killed it, and not the kernel for lack of memory."""
        ...


class SlotProcess:
    """A process of Python that speaks as a slot does.

    Args:
        program: A module, and its arguments.
        work: What it is to do, one line of JSON.
        environment: What it sees besides this process's own.
        log: Gets what it prints otherwise.
        hear: Told each line that it says, and None when it has ended; from a thread.
        folder: Where it starts; here if None.
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
            # A session of its own: Ctrl-C in the terminal is for the supervisor.
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
        """Count its life from now: it had to wait before it could begin."""
        self._began = time.monotonic()

    def reap(self) -> tuple[int, float]:
        """Wait for the process, which has ended: its exit status, and how many seconds it lived."""
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return status, time.monotonic() - self._began

    def reason(self, status: int) -> str:
        """Why it ended, in one line."""
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        lines = self.log_lines()
        return lines[-1] if lines else f"exit status {status}"

    def killed_by_another(self, status: int) -> bool:
        """Whether somebody killed it, and not the kernel for want of memory: so much is known of SIGKILL alone."""
        return status == -signal.SIGKILL and self._oom_kills is not None and oom_kills() == self._oom_kills

    def log_lines(self) -> list[str]:
        """What it printed."""
        return self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()

    def _read(self, hear: Callable[[str | None], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # What a killed process did not finish is no message.
            if line.endswith("\n"):
                hear(line)
        hear(None)


def oom_kills() -> int | None:
    """How many processes this machine has killed for want of memory, in any container; None if it does not say."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return None
    return int(counts["oom_kill"]) if "oom_kill" in counts else None
