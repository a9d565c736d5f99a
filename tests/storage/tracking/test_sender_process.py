"""The process that sends to MLflow: it shows no secret; whoever dies, nothing is lost or doubled."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frostline.storage.errors import StudyBusyError
from frostline.storage.timing import Timing
from frostline.storage.tracking import sender_process
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.mlflow_runs import find_runs
from frostline.storage.tracking.study_mark import StudyMark
from frostline.storage.tracking.tracker import StudyTracker, TrackedRun, send_journal
from frostline.storage.urls import safe_url
from frostline.storage.workspace import Workspace

MARK = StudyMark("study", "0123456789abcdef")

SEARCH = """
import sys, time
from pathlib import Path
from frostline.storage.tracking.study_mark import StudyMark
from frostline.storage.tracking.tracker import StudyTracker
from frostline.storage.workspace import Workspace

place, mark = Workspace(Path(sys.argv[1])), StudyMark("study", "0123456789abcdef")
tracker = StudyTracker(sys.stdin.readline().strip() or None, place, mark, {}, print)
run = tracker.run("trial-0", "000 full", {}, {})
for epoch in range(10**9):
    run.log_step(epoch, {"loss": epoch})
    print(epoch, "mlflow" in sys.modules, flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def place(tmp_path: Path, tracking_database: Path) -> Workspace:
    shutil.copy(tracking_database, tmp_path)
    return Workspace(tmp_path)


def senders(parent: int) -> list[int]:
    """Processes below one that send to MLflow."""
    return [pid for pid, above, command in processes() if above == parent and sender_process.__name__ in command]


def processes() -> Iterator[tuple[int, int, str]]:
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        pid, parent, command = line.split(maxsplit=2)
        yield int(pid), int(parent), command


def alive(pid: int) -> bool:
    # One that has ended and that nobody has asked about yet has no command.
    return any(pid == each and "defunct" not in command for each, _, command in processes())


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_the_sender_imports_no_library_of_training_or_search():
    heavy = ("torch", "torchvision", "optuna", "sklearn", "frostline.objectives", "frostline.search")
    program = (
        "import sys; import frostline.storage.tracking.sender_process, frostline.storage.tracking.mlflow_runs, "
        f"mlflow.pyfunc; print([name for name in {heavy} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


def steps(place: Workspace) -> list[int]:
    """Of the trial, as MLflow has them."""
    found = find_runs(place.tracking_url, MARK)
    if found is None or "trial-0" not in found[1]:
        return []
    history = MlflowClient(tracking_uri=place.tracking_url).get_metric_history(found[1]["trial-0"], "loss")
    return [point.step for point in history]


def searching(place: Workspace, uri: str = "") -> subprocess.Popen[str]:
    search = subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(place.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert search.stdin is not None
    search.stdin.write(uri + "\n")
    search.stdin.flush()
    return search


def test_a_killed_search_takes_its_sender_along_and_the_rest_is_sent_later_once(place: Workspace) -> None:
    with searching(place) as search:
        wait_until(lambda: len(steps(place)) > 20)
        (child,) = senders(search.pid)
        os.kill(search.pid, signal.SIGKILL)
        assert search.stdout is not None
        said = [line.split() for line in search.stdout]
    assert {imported for _, imported in said} == {"False"}
    # At once, as `frostline sync` may be: it waits for what is in flight.
    assert send_journal(None, place, MARK, print) > 0
    assert steps(place) == list(range(len(steps(place))))
    assert len(steps(place)) >= len(said)
    wait_until(lambda: not alive(child))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("http://me:secret@host:5000/x", "http://host:5000/x"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_what_is_shown_of_a_store_has_no_secret(uri: str, shown: str) -> None:
    assert safe_url(uri) == shown


def test_no_process_shows_the_secret_and_the_sender_lets_training_go_first(place: Workspace) -> None:
    with searching(place, "http://user:s3cret@127.0.0.1:9") as search:
        wait_until(lambda: senders(search.pid))
        (child,) = senders(search.pid)
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, child) > os.getpriority(os.PRIO_PROCESS, search.pid))
        assert not any("s3cret" in command for _, _, command in processes())
        assert os.getsid(child) != os.getsid(search.pid)
        search.kill()


@pytest.mark.slow  # A search that is killed, and its records sent once, are quick.
def test_a_sender_that_is_killed_is_followed_by_another(place: Workspace) -> None:
    place, notes = replace(place, timing=Timing(send=0.1)), list[str]()
    with closing(StudyTracker(None, place, MARK, {}, notes.append)) as tracker:
        run = tracker.run("trial-0", "000 full", {}, {})
        for epoch in range(40):
            if epoch == 20:
                wait_until(lambda: len(steps(place)) == 20)
                (child,) = senders(os.getpid())
                os.kill(child, signal.SIGKILL)
            run.log_step(epoch, {"loss": epoch})
    assert senders(os.getpid()) == []
    assert notes == []
    assert steps(place) == list(range(40))
    assert send_journal(None, place, MARK, notes.append) == 0


def test_a_sender_that_cannot_be_started_costs_nothing(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(sys, "executable", str(place.root / "nothing"))
    StudyTracker(None, place, MARK, {}, notes.append).close()
    told, left = notes
    assert "cannot be started" in told
    assert "frostline sync study" in left
    assert send_journal(None, place, MARK, notes.append) == 1


@pytest.mark.slow  # A store that hangs takes its time.
def test_a_store_that_hangs_is_given_up_with_its_sender(place: Workspace) -> None:
    place, notes = replace(place, timing=Timing(send_patience=4.0)), list[str]()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = StudyTracker(f"http://127.0.0.1:{silent.getsockname()[1]}", place, MARK, {}, notes.append)
        began = time.monotonic()
        tracker.close()
        assert time.monotonic() - began < 20
    assert senders(os.getpid()) == []
    (left,) = notes
    assert "frostline sync study" in left
    assert send_journal(None, place, MARK, notes.append) == 1


def test_one_process_delivers_at_a_time(place: Workspace) -> None:
    script = (
        "import sys; from pathlib import Path; from frostline.storage.tracking.delivery import Delivery\n"
        "from frostline.storage.tracking.journal import Journal; from frostline.storage.workspace import Workspace\n"
        "from frostline.storage.tracking.study_mark import StudyMark; place = Workspace(Path(sys.argv[1]))\n"
        "delivery = Delivery(place.tracking_url, place, StudyMark('study', '0123456789abcdef'))\n"
        "delivery.deliver(Journal(place.journal('study')).unsent().records); print('sent', flush=True)\n"
        "sys.stdin.read()"
    )
    with closing(Journal(place.journal("study"))) as journal:
        TrackedRun(journal, "trial-0").start("000 full", {}, {})
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "sent\n"
        with pytest.raises(StudyBusyError, match="still sending"):
            send_journal(None, replace(place, timing=Timing(send_patience=0.1)), MARK, print)
        other.communicate("")
    assert send_journal(None, place, MARK, print) == 1
    found = find_runs(place.tracking_url, MARK)
    assert found is not None
    assert found[1].keys() == {"study-study", "trial-0"}
