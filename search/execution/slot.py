"""One slot: a process that works on a study, started by a supervisor on the same machine.

They speak in lines of JSON: what to work on comes in, over standard input; messages go out, over standard output:
records for the journal, and calls for the observer. A slot ends when there is nothing left to do, when it is told to by
SIGTERM, and when its supervisor is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import torch

from ...objectives.heap import keep_freed_memory
from ...storage.tracking import Tracker
from ...storage.workspace import Workspace
from ..slots import ProcessResources
from ..stopping import STOPPED
from ..study import Observer, Study, reopen
from .frozen_libraries import libraries_frozen
from .run import run_until_done
from .session import open_session
from .slot_protocol import ForwardingObserver, MessagePipe, SlotJob


def main() -> None:
    """Run the process of a slot until no work is left."""
    # Printed output goes to the log; standard output is for messages only.
    line = MessagePipe(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    keep_freed_memory()
    work = SlotJob.decode(sys.stdin.readline())
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        run_slot(work, line)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def run_slot(work: SlotJob, line: MessagePipe) -> None:
    """Work on a study, in whatever process this is, until no work is left.

    Args:
        work: Work of the slot.
        line: Pipe to the supervisor.

    Raises:
        Stopped: A stop was requested.
    """
    if work.threads:
        torch.set_num_threads(work.threads)
    observer = ForwardingObserver(line)
    workspace = Workspace(Path(work.root), work.storage, work.artifacts_url, work.timing)
    study, tracker = Study.load(work.study, workspace), Tracker(line, workspace, work.study)
    prepared = reopen(study, Observer(), work.data, work.image_root)
    resources = ProcessResources(work.device, work.cache_bytes, work.retries)
    opened = open_session(study, prepared.dataset, prepared.backbones, resources, tracker, observer)
    with opened as session, libraries_frozen():
        run_until_done(session, search=work.search)


def _end_with_supervisor() -> None:
    """Stop when the supervisor is gone: no other process keeps the log records."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
