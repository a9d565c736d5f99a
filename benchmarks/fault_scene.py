"""The scene of a fault: a toy study in a workspace of its own, commands that run beside it, and what became of it.

A command runs in a process forked from one that has imported everything, so that it takes a second. What goes wrong is
done to that process before its command starts, or in the middle of it, from the observer's calls.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.forked_processes import PATIENCE, fork, wait
from frostline.dashboards import views
from frostline.dashboards.cli import app, print_anywhere
from frostline.dashboards.views import TerminalViews
from frostline.objectives.epochs import EpochResult
from frostline.search.execution import held_study
from frostline.search.study import LineProgress, Observer
from frostline.search.tracking import registered_models
from frostline.storage.tracking import StudyTracker
from frostline.storage.tracking.delivery import Delivery
from frostline.storage.workspace import Workspace

TRIALS = 3
SPACE = """
[shared]
epochs = 3
patience = 99
batch_size = 16
learning_rate = { low = 1e-3, high = 1e-2, log = true, default = 3e-3 }
[lp_ft]
probe_epochs = 2
[partial]
freeze_depth = 2
"""
# Of the network: a module that needs nothing of ours.
_BACKBONES = str(Path(__file__).parents[1] / "tests/backbones")
_TRACEBACK = "Traceback (most recent call last)"

Act = Callable[[], object]
# What is done when a training ends an epoch, by (trial, epoch); it is done once, unless it gives AGAIN.
Moments = Mapping[tuple[int, int], Act]
AGAIN = "again"
# The trial that a process trains just now; -1 in a final.
NOW = {"trial": -1}


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        command: What was typed, without the options that all share.
        code: Exit status; negative after a signal, None if it had to be killed because it hung.
        output: What it printed.
    """

    command: str
    code: int | None
    output: str

    @property
    def tracebacks(self) -> int:
        return self.output.count(_TRACEBACK)

    @property
    def last(self) -> str:
        """What it said at its end, in one line."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else ""


@dataclass
class Scene:
    """A workspace in which something goes wrong.

    Attributes:
        folder: Of the workspace, the data and the space.
        templates: Folder with a MLflow database without runs.
        name: Of the study.
        mlflow: URI of a server that works; empty where none is needed.
        more: Options of all commands that train.
        data: Dataset.
        weights: File of the network's weights, or none.
        root: Workspace.
        storage: URL of the studies' database; None for the workspace's own.
        environment: Variables of all commands.
        real_sender: Whether records go to MLflow from a process of their own, as users' do.
        reports: Whether reports are written, which takes a second.
        ended: Commands so far.
        cleanup: What is undone at the end.
    """

    folder: Path
    templates: Path
    name: str = "toy"
    mlflow: str = ""
    more: list[str] = field(default_factory=list)
    data: str = "sklearn:digits[0-2]@60"
    weights: str = "none"
    root: Path = Path()
    storage: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    real_sender: bool = False
    reports: bool = False
    ended: list[Ended] = field(default_factory=list)
    cleanup: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root = self.folder / "workspace"
        self.furnish()
        self.space = self.folder / "space.toml"
        self.space.write_text(SPACE)

    def furnish(self) -> None:
        """Make the workspace, with a MLflow database."""
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.templates / "mlflow.db", self.root)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root, self.storage)

    @property
    def begun(self) -> bool:
        """Whether there is a study."""
        return any(f"study {self.name}: " in ended.output for ended in self.ended)

    def search(self, before: Act | None = None, at: Moments | None = None, **more: Any) -> Ended:
        """Start the study."""
        return self.run(
            *("search", self.data, "--name", self.name, "--space", self.space, "--trials", TRIALS, "--seeds", "1"),
            *("--candidates", "1", "--backbone", "tiny_network:create", "--weights", self.weights),
            *("--image-size", "32", "--device", "cpu", "--no-audit", *self.more),
            before=before,
            at=at,
            **more,
        )

    def resume(self, before: Act | None = None, at: Moments | None = None, **more: Any) -> Ended:
        """Go on with it."""
        trains = [option for option in self.more if option not in ("--tracking-uri", *_uris(self.more))]
        return self.run("resume", self.name, "--device", "cpu", *trains, before=before, at=at, **more)

    def run(
        self,
        *arguments: Any,
        before: Act | None = None,
        at: Moments | None = None,
        patience: float = PATIENCE,
        beside: Callable[[int], None] | None = None,
    ) -> Ended:
        """Run a command.

        Args:
            *arguments: What is typed.
            before: Done in its process before it starts.
            at: Done in its process when a training ends an epoch.
            patience: Seconds after which it counts as hanging.
            beside: Called in this process meanwhile, with its process id.
        """
        args = [str(argument) for argument in arguments]
        output = self.folder / f"output-{len(self.ended)}.txt"
        pid = fork(lambda: self._command(args, before, at or {}), output)
        if beside is not None:
            beside(pid)
        code = wait(pid, patience)
        ended = Ended(" ".join(args[:2]), code, output.read_text(errors="replace"))
        self.ended.append(ended)
        return ended

    def judge(self) -> dict[str, int]:
        """What is wrong with the study, by name; see :class:`benchmarks.damage.Damage`."""
        from benchmarks.damage import judge

        answer = self.folder / "damage.json"

        def work() -> int:
            sys.path.insert(0, _BACKBONES)
            answer.write_text(json.dumps(asdict(judge(self.name, self.workspace, TRIALS))))
            return 0

        output = self.folder / "judge.txt"
        if wait(fork(work, output), PATIENCE) != 0:
            lines = output.read_text().strip().splitlines()
            raise RuntimeError(f"The study cannot be judged: {lines[-1] if lines else 'it hangs'}")
        return json.loads(answer.read_text())

    def _command(self, args: list[str], before: Act | None, at: Moments) -> int:
        """In the forked process: run a command; its exit status."""
        os.environ.update(
            {"FROSTLINE_CHECKPOINT_SECONDS": "0", "FROSTLINE_LEASE_SECONDS": "4", "HOME": str(self.folder)}
        )
        os.environ["PYTHONPATH"] = os.pathsep.join([_BACKBONES, str(Path(__file__).parents[1])])
        sys.path.insert(0, _BACKBONES)
        os.environ.update(self.environment)
        os.environ["FROSTLINE_WORKSPACE"] = str(self.root)
        if self.storage:
            os.environ["FROSTLINE_STORAGE"] = self.storage
        # Loading networks elsewhere takes seconds, and is no matter of these faults.
        registered_models.load_faults = lambda folders: {}
        if not self.reports:
            views.write_study_report = lambda study, path=None: study.workspace.report(study.settings.name)
        if not self.real_sender:
            tracker: Any = functools.partial(StudyTracker, sender=_InProcess)
            held_study.StudyTracker = tracker
        if before is not None:
            before()
        print_anywhere()
        try:
            app(args, obj=_Views(at), prog_name="frostline")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        return 0


def _uris(more: Sequence[str]) -> Sequence[str]:
    return [value for option, value in itertools.pairwise(more) if option == "--tracking-uri"]


class _InProcess(Delivery):
    """Sends to MLflow from the command's own process, which has imported it."""

    def kill(self) -> None:
        """Nothing: there is no process."""


class _Views(TerminalViews):
    """What users see, with something done at some moments."""

    def __init__(self, at: Moments) -> None:
        super().__init__()
        self._at = dict(at)

    def observer(self) -> Observer:
        moments = self._at

        class Watching(LineProgress):
            def trial_started(self, number: int, strategy: str, epochs: int) -> None:
                NOW["trial"] = number

            def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
                NOW["trial"] = -1
                super().final_started(finalist, seed, place, total)

            def epoch_finished(self, number: int, result: EpochResult) -> None:
                act = moments.get((number, result.epoch))
                if act is not None and act() != AGAIN:
                    del moments[number, result.epoch]

        return Watching(lambda line: print(line, flush=True))


def plain(text: str, *places: Path) -> str:
    """A message without terminal colors and without this machine's paths."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for place in places:
        text = text.replace(str(place), place.name or "FOLDER")
    return text
