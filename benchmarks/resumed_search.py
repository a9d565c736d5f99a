"""A search from the command line that is resumed until it is done, whatever cut it off; on photos of small shapes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.procedural import shaped
from frostline.objectives.errors import InvalidInputError
from frostline.search.study import Study
from frostline.storage.errors import StorageError
from frostline.storage.workspace import Workspace

NAME = "chaos"
LEASE_SECONDS = 2.0
_COMMAND = "import sys; from frostline.dashboards.cli import main; sys.argv[0] = 'frostline'; main()"
_SPACE = """
[shared]
epochs = {epochs}
patience = {epochs}
batch_size = 16
learning_rate = {{ low = 1e-3, high = 1e-2, log = true, default = 3e-3 }}
[partial]
freeze_depth = 2
[full]
[lp_ft]
probe_epochs = 4
"""


def write_photos(folder: Path, train: int, rng: np.random.Generator) -> Path:
    """Class folders of small shapes."""
    for split, count in (("train", train), ("test", 30)):
        images, labels = shaped(count, rng)
        for place, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = folder / split / f"class{label}" / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 255).astype(np.uint8)).save(file)
    return folder


class Search:
    """A study that is searched from the command line, over and over until it is done.

    Args:
        folder: For data, space and workspace.
        storage: URL of the database; the workspace's own if None.
        workers: Processes.
        trials: First budget.
        epochs: Of a trial.
        more: Options of all its commands.
    """

    def __init__(
        self,
        folder: Path,
        storage: str | None,
        *,
        workers: int,
        trials: int,
        epochs: int,
        more: Sequence[str] = (),
    ) -> None:
        self.workspace = Workspace(folder / "workspace", storage)
        self.trials = trials
        self.resumed = 0
        self._more = ("--workers", str(workers), "--device", "cpu", *more)
        self._data = str(write_photos(folder / "photos", 90, np.random.default_rng(0)))
        self._space = folder / "space.toml"
        self._space.write_text(_SPACE.format(epochs=epochs))
        own = [str(Path(__file__).parents[1]), *sys.path]
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(own),
            "FROSTLINE_LEASE_SECONDS": str(LEASE_SECONDS),
            "FROSTLINE_CHECKPOINT_SECONDS": "0.5",
            **({"FROSTLINE_STORAGE": storage} if storage else {}),
        }
        self.output = folder / "output.txt"
        self._log = self.output.open("w")
        self.process = self._start(
            "search",
            *(self._data, "--name", NAME, "--space", str(self._space), "--trials", str(trials), "--seeds", "1"),
            *("--backbone", "benchmarks.small_cnn:create", "--weights", "none", "--population", "1"),
        )

    def go_on(self, more: int = 0) -> None:
        """Resume the study, with more trials."""
        self.trials += more
        self.resumed += 1
        self.process = self._start("resume", NAME, "--trials", str(self.trials))

    def slots(self) -> list[int]:
        """Processes that work just now."""
        listed = subprocess.run(
            ["ps", "-ww", "--ppid", str(self.process.pid), "-o", "pid=,stat=,args="], capture_output=True, text=True
        ).stdout
        rows = (line.split(None, 2) for line in listed.splitlines())
        return [int(row[0]) for row in rows if "frostline.search.execution.slot" in row[2] and row[1][0] not in "TZ"]

    def training(self) -> list[int]:
        """Those of them that have a trial."""
        # Its database may not be there yet, or have lost its connections.
        try:
            study = Study.load(NAME, self.workspace)
            held = {int(each.owner.split("/")[2]) for each in study.tickets.held()}
            study.close()
        except (InvalidInputError, StorageError, SQLAlchemyError):
            return []
        return [pid for pid in self.slots() if pid in held]

    def finish(self, seconds: float) -> None:
        """Let the study end; whatever cut it off, it is resumed.

        Raises:
            TimeoutError: It does not end.
        """
        deadline = time.monotonic() + seconds
        while self.process.wait(max(1.0, deadline - time.monotonic())) != 0:
            if time.monotonic() > deadline:
                raise TimeoutError(self.output.read_text()[-3000:])
            self.go_on()
        self._log.close()

    def end(self) -> None:
        """Whatever it does just now."""
        self.process.kill()
        self.process.wait()
        self._log.close()

    def _start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        shared = (*self._more, "--workspace", str(self.workspace.root))
        return subprocess.Popen(
            [sys.executable, "-c", _COMMAND, command, *arguments, *shared],
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
