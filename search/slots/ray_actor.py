"""The actor that holds a slot's process on a node of a Ray cluster; ``ray_bridge.py`` starts it."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from ...storage.workspace import Workspace
from ..stopping import GRACE_SECONDS
from .process import SlotProcess

# Time that a question waits for the slot's next line.
LISTEN_SECONDS = 0.5
# After this time without a question, the bridge counts as gone.
_FORGOTTEN_SECONDS = 15.0
_LOG_LINES = 30


class RaySlotActor:
    """A Ray actor that holds a slot's process and hands on its messages.

    Args:
        program: Module of the slot.
        work: Work of the slot as JSON.
        environment: Environment variables besides the node's own.
        folder: Current folder of the slot, if the node has it, in which plugins are found.
    """

    def __init__(self, program: str, work: str, environment: dict[str, str], folder: str) -> None:
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        known = json.loads(work)
        self._log = Workspace(Path(known["root"])).logs / f"{known['study']}-{socket.gethostname()}-{os.getpid()}.log"
        here = folder if Path(folder).is_dir() else None
        self._slot = SlotProcess((program,), work, environment, self._log, self._said.put, here)
        self._asked = time.monotonic()
        self._ended: tuple[int, str] | None = None
        threading.Thread(target=self._end_when_forgotten, daemon=True).start()

    def where(self) -> tuple[str, str]:
        """Return this machine's name and its version of Frostline."""
        return socket.gethostname(), version("frostline")

    def lines(self) -> tuple[list[str], tuple[int, str] | None]:
        """Return the slot's lines since the last call and, after its end, the exit status with the end of its log."""
        self._asked = time.monotonic()
        found: list[str] = []
        with suppress(queue.Empty):
            line = self._said.get(timeout=LISTEN_SECONDS)
            while line is not None:
                found.append(line)
                line = self._said.get_nowait()
            status, _ = self._slot.reap()
            reason = self._slot.reason(status)
            self._ended = status, "\n".join(dict.fromkeys([*self._slot.log_lines()[-_LOG_LINES:], reason]))
        return found, self._ended

    def signal(self, number: int) -> None:
        """Send the slot a signal."""
        self._slot.signal(number)

    def fetch(self, path: str, known: tuple[int, int] | None) -> tuple[bytes, int] | None:
        """Return a file's content and modification time; None if size and time match ``known``."""
        stat = os.stat(path)
        same = known == (stat.st_size, stat.st_mtime_ns)
        return None if same else (Path(path).read_bytes(), stat.st_mtime_ns)

    def _end_when_forgotten(self) -> None:
        """Stop the slot, with a checkpoint, if the bridge is gone: its log records would be lost."""
        while self._ended is None and time.monotonic() - self._asked < _FORGOTTEN_SECONDS:
            time.sleep(1.0)
        if self._ended is None:
            self._slot.signal(signal.SIGTERM)
            time.sleep(2 * GRACE_SECONDS)
            self._slot.signal(signal.SIGKILL)
