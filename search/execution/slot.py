"""One slot: a process that works on a study, started by a supervisor on the same machine.

They speak in lines of JSON: what to work on comes in, over standard input; what happens goes out, over standard output:
records for the journal, and calls for the observer. A slot ends when there is nothing left to do, when it is told to by
SIGTERM, and when its supervisor is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from ...objectives.epochs import EpochResult
from ...storage.tracking.journal import FINISH, START
from ..records import FinalRecord, TrialRecord
from ..stopping import STOPPED, Stopped
from ..study.observer import Observer


@dataclass(frozen=True)
class Work:
    """What a slot is to do.

    Attributes:
        study: Name.
        root: Folder of the workspace.
        storage: URL of the study's database, if it is not the workspace's own.
        artifacts_url: Of a place for checkpoints, if this machine reaches it by another than the study's.
        data: Where the data are on this machine, if elsewhere than where the study began.
        device: Where to train.
        cache_budget: Size of this slot's feature cache.
        threads: Of torch; 0 leaves them as they come.
        retries: How often a training is begun again that something unexpected ended.
        search: Whether trials are run, or finals alone.
    """

    study: str
    root: str
    storage: str | None
    artifacts_url: str | None
    data: str | None
    device: str
    cache_budget: str
    threads: int
    retries: int
    search: bool


class Line:
    """The way out: one line a message, from any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._open: dict[str, None] = {}

    def send(self, call: str, *arguments: Any) -> None:
        """Say something.

        Raises:
            Stopped: The supervisor is gone: what is under way must not go on, and has not failed either.
        """
        try:
            with self._lock:
                self._file.write(json.dumps([call, *arguments]) + "\n")
                self._file.flush()
        except BrokenPipeError:
            raise Stopped from None

    def append(self, kind: str, key: str, **content: Any) -> None:
        """As a journal."""
        self.send("journal", kind, key, content)
        if kind == START:
            self._open[key] = None
        elif kind == FINISH:
            self._open.pop(key, None)

    def open_keys(self) -> list[str]:
        """As a journal."""
        return list(self._open)


class Forwarding(Observer):
    """Tells the supervisor's observer."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def note(self, message: str) -> None:
        self._line.send("note", message)

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        self._line.send("trial_started", number, strategy, epochs)

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        self._line.send("epoch_finished", number, asdict(result))

    def trial_finished(self, trial: TrialRecord) -> None:
        finished = trial.finished.isoformat() if trial.finished else None
        self._line.send("trial_finished", {**asdict(trial), "finished": finished})

    def trial_cut_off(self, number: int) -> None:
        self._line.send("trial_cut_off", number)

    def final_started(self, strategy: str, seed: int, place: int, total: int) -> None:
        self._line.send("final_started", strategy, seed, place, total)

    def final_finished(self, final: FinalRecord) -> None:
        # Its probabilities are in the database.
        self._line.send("final_finished", final.strategy, final.trial_number, final.seed)

    def final_cut_off(self, strategy: str, seed: int) -> None:
        self._line.send("final_cut_off", strategy, seed)


def restore(call: str, arguments: list[Any]) -> list[Any]:
    """Arguments of an observer's call from those of a line; a final's are left for who knows the study."""
    if call == "epoch_finished":
        number, result = arguments
        return [number, EpochResult(**result)]
    if call == "trial_finished":
        return [_trial(arguments[0])]
    return arguments


def _trial(values: Mapping[str, Any]) -> TrialRecord:
    curve = {int(epoch): score for epoch, score in values["curve"].items()}
    finished = datetime.fromisoformat(values["finished"]) if values["finished"] else None
    return replace(TrialRecord(**values), curve=curve, finished=finished)


def main() -> None:
    """The process: work until there is nothing left to do."""
    # Whatever prints goes to the log; the line is ours alone.
    line = Line(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    work = Work(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        _work(work, line)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _work(work: Work, line: Line) -> None:
    import torch

    from ...storage.tracking.tracker import Tracker
    from ...storage.workspace import Workspace
    from ..study.resume import reopen
    from ..study.study import Study
    from .run import carry_out
    from .session import open_session
    from .supervisor import Resources

    if work.threads:
        torch.set_num_threads(work.threads)
    observer = Forwarding(line)
    workspace = Workspace(Path(work.root), work.storage, work.artifacts_url)
    study, tracker = Study.load(work.study, workspace), Tracker(line, workspace, work.study)
    prepared = reopen(study, Observer(), work.data)
    resources = Resources(work.device, work.cache_budget, retries=work.retries)
    with open_session(study, prepared.dataset, prepared.backbones, resources, tracker, observer) as session:
        carry_out(session, search=work.search)


def _end_with_supervisor() -> None:
    """Without a supervisor nobody keeps what MLflow shall show."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
