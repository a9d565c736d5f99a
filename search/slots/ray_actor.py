"""What holds a slot's process on a node of a Ray cluster, for who brings it there (``ray_slot.py``)."""

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

# How long a slot may say nothing before what it is asked returns.
LISTEN_SECONDS = 0.5
# After so long without a question nobody hears a slot any more.
_FORGOTTEN_SECONDS = 15.0
_LOG_LINES = 30


class Host:
    """An actor: holds a slot's process, and lets it be heard.

    Args:
        program: Module of the slot.
        work: What the slot is to do, as JSON.
        environment: What its process sees besides the node's own.
        folder: Where it starts, if the node has that folder: plugins are found there.
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
        """This machine's name, and Frostline's version on it."""
        return socket.gethostname(), version("frostline")

    def lines(self) -> tuple[list[str], tuple[int, str] | None]:
        """What the slot said since the last time, and its exit status with the end of its log once it has ended."""
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
        """A file's content and time of change; None where size and time are known."""
        stat = os.stat(path)
        same = known == (stat.st_size, stat.st_mtime_ns)
        return None if same else (Path(path).read_bytes(), stat.st_mtime_ns)

    def _end_when_forgotten(self) -> None:
        """What is not heard would be lacking in MLflow: the slot ends, and keeps a checkpoint."""
        while self._ended is None and time.monotonic() - self._asked < _FORGOTTEN_SECONDS:
            time.sleep(1.0)
        if self._ended is None:
            self._slot.signal(signal.SIGTERM)
            time.sleep(2 * GRACE_SECONDS)
            self._slot.signal(signal.SIGKILL)
