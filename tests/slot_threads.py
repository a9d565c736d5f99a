"""An engine for tests: slots as threads of the test's process, which has imported torch already."""

from __future__ import annotations

import io
import os
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from frostline.search.execution.slot_protocol import MessagePipe, SlotJob
from frostline.search.slots.engines import LocalEngine
from frostline.search.slots.process import RunningSlot, SlotSpec
from frostline.search.stopping import STOPPED

# One slot works at a time: while torch.fx traces a backbone, it changes how all threads call modules.
_AT_WORK = threading.Lock()


class _Line(io.StringIO):
    """What a slot writes to, as a pipe that its reader can close."""

    def __init__(self, hear: Callable[[str | None], None]) -> None:
        super().__init__()
        self._hear = hear
        self.broken = False

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError
        self._hear(text)
        return len(text)


class SlotThread:
    """A slot as a thread; once it gets any signal, it ends with its next message.

    Args:
        run: What the program of a slot does with its work.
        work: Work, one line of JSON.
        log: File for the traceback, if it fails.
        hear: Function called with each line, and with None after the thread's end.
    """

    def __init__(
        self, run: Callable[[SlotJob, MessagePipe], None], work: str, log: Path, hear: Callable[[str | None], None]
    ) -> None:
        self._run, self._work, self._log, self._hear = run, work, log, hear
        self._line = _Line(hear)
        self._status = 0
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._live, name="slot", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return os.getpid()

    def signal(self, number: int) -> None:
        self._line.broken = True

    def begins(self) -> None:
        self._began = time.monotonic()

    def reap(self) -> tuple[int, float]:
        self._thread.join()
        return self._status, time.monotonic() - self._began

    def reason(self, status: int) -> str:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return lines[-1] if lines else f"exit status {status}"

    def killed_by_another(self, status: int) -> bool:
        return False

    def _live(self) -> None:
        try:
            with _AT_WORK:
                self._run(SlotJob.decode(self._work), MessagePipe(self._line))
        except KeyboardInterrupt:
            self._status = STOPPED
        except Exception:
            self._status = 1
            self._log.write_text(traceback.format_exc())
        finally:
            self._hear(None)


class ThreadEngine(LocalEngine):
    """Runs the program of a slot in threads, even if there is one only."""

    in_process = False

    def places(self) -> list[SlotSpec]:
        # Threads of torch are the whole process's: they stay as they are.
        return [SlotSpec(self.resources.device, {}, 0) for _ in range(self.resources.workers or 1)]

    def start(
        self, program: str, place: SlotSpec, work: str, log: Path, hear: Callable[[str | None], None]
    ) -> RunningSlot:
        return SlotThread(import_module(program.removesuffix("_process")).run_slot, work, log, hear)
