"""One process a study."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from frostline.storage.errors import StudyBusyError
from frostline.storage.locks import exclusive
from frostline.storage.workspace import Workspace

_HOLD = (
    "import sys; from pathlib import Path; from frostline.storage.locks import exclusive\n"
    "from frostline.storage.workspace import Workspace\n"
    "with exclusive(Workspace(Path(sys.argv[1])), sys.argv[2]): print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def holder(root: Path, study: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(root), study], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.communicate("")


def test_a_held_study_is_refused_and_free_afterwards(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    with holder(tmp_path, "flowers"):
        with pytest.raises(StudyBusyError, match="frostline status flowers"), exclusive(place, "flowers"):
            pass
        with exclusive(place, "other"):
            pass
    with exclusive(place, "flowers"):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    with holder(tmp_path, "flowers") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with exclusive(Workspace(tmp_path), "flowers"):
            pass


def test_an_error_lets_go(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    with pytest.raises(RuntimeError), exclusive(place, "flowers"):
        raise RuntimeError
    with exclusive(place, "flowers"):
        pass


def test_no_name_of_a_study_is_that_of_another_lock(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    with exclusive(place, "mlflow-schema"):
        assert not place.lock("mlflow-schema").exists()
