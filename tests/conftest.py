"""What all tests share: databases of each kind, and MLflow in the test's own process."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import shutil
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import settings
from sqlalchemy import Engine, event
from typer.main import get_command

from frostline.objectives import devices, precision_probe
from frostline.objectives.networks import serving_costs
from frostline.search.analysis import score_draws
from frostline.search.execution import curve_trainings, held_study, run
from frostline.search.slots.engines import ENGINES
from frostline.search.study import optuna_rows
from frostline.search.tracking import registered_models
from frostline.search.tracking.load_check import load_faults
from frostline.storage.tracking import mlflow_client, name_check
from frostline.storage.tracking.delivery import Delivery, Receipt
from frostline.storage.tracking.journal_records import JournalRecord
from frostline.storage.tracking.mlflow_settings import configure_mlflow
from frostline.storage.tracking.name_check import ask_process
from frostline.storage.tracking.study_mark import StudyMark
from frostline.storage.tracking.tracker import StudyTracker
from frostline.storage.workspace import Workspace

from .servers import Server, start_mariadb, start_postgres
from .slot_threads import ThreadEngine

# What is faster is measured, and may differ from one study to the next: tests compute in float32 unless they ask.
precision_probe.MIN_FLOPS = 10**18

# MLflow runs in the tests' own process.
configure_mlflow()

# Until all test modules are imported, there is no garbage worth a look at all that they make.
gc.disable()

# A shell starts its background jobs with SIGINT ignored, and the processes that tests start would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine's load than about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@event.listens_for(Engine, "connect")
def _leave_the_disk_to_the_system(connection: Any, _record: Any) -> None:
    """New tables and MLflow's records wait for no disk: what a killed process wrote is there, only a power cut differs.

    Engines of Frostline's own set what users get; so do the processes that tests start.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


def pytest_collection_finish() -> None:
    """Collections of garbage skip what all test modules imported; each trial ends with one, of 0.2 to 0.5 s."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _frozen_before_each_file() -> None:
    """And what tests of the files before imported, which is as much again: libraries load most of themselves late."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _made_once() -> Iterator[None]:
    """Commands of an app and the scripts of migrations are made once, as in a user's process, not in each call."""
    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def scripts(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        return known[place] if place in known else known.setdefault(place, read(config))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", scripts)
        patch.setattr("typer.testing._get_command", functools.cache(get_command))
        # The tests' process has frozen its libraries, of which each search would first count the objects.
        for module in (run, curve_trainings):
            patch.setattr(module, "libraries_frozen", contextlib.nullcontext)
        # Each trial ends with a collection of all garbage, a tenth of a search here: of the young it is enough.
        patch.setattr(devices, "gc", SimpleNamespace(collect=functools.partial(gc.collect, 1)))
        # Latencies themselves are looked at in test_serving_costs.py.
        patch.setattr(serving_costs, "_MOST", 7)
        yield


@pytest.fixture(scope="session", autouse=True)
def _images_resampled_once() -> Iterator[None]:
    """Verdicts resample the images of their labels from the same seed: most tests of a file have the same labels."""
    draw, known = score_draws._resample, dict[tuple[bytes, int, str], tuple[Any, Any]]()

    def resample(labels: Any, size: int, rng: np.random.Generator) -> Any:
        key = labels.tobytes(), size, str(rng.bit_generator.state)
        if key not in known:
            if sum(counts.nbytes for counts, _ in known.values()) > 2**28:
                known.clear()
            counts = draw(labels, size, rng)
            counts.flags.writeable = False
            known[key] = counts, rng.bit_generator.state
        counts, rng.bit_generator.state = known[key]
        return counts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_draws, "_resample", resample)
        yield


@pytest.fixture(scope="session", autouse=True)
def _backbones_on_the_path() -> Iterator[None]:
    """Processes that tests start import the backbones of tests, as this process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).with_name("backbones")), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL server of this test process."""
    with start_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A MariaDB server of this test process, if there is one on the machine."""
    with start_mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, on each kind of server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    server: Server = request.getfixturevalue(request.param)
    return server.create_database(f"t{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def tracking_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, to be copied: making its schema takes MLflow seconds."""
    from frostline.storage.tracking.mlflow_client import MlflowClient

    file = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(scope="session", autouse=True)
def _new_tracking_databases_are_copies(request: pytest.FixtureRequest) -> Iterator[None]:
    """A workspace's new database is made by a process of its own, of seconds, where tests start the command itself."""

    def copy(file: Path, _lock: Path) -> None:
        shutil.copy(request.getfixturevalue("tracking_database"), file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_client, "create_aside", copy)
        yield


class InProcessSender(Delivery):
    """Delivers records from the test's process, which has imported MLflow once."""

    def kill(self) -> None:
        """Nothing: there is no process, and a test's store answers or refuses at once."""


@pytest.fixture(scope="session")
def sender_in_process(request: pytest.FixtureRequest) -> Callable[[str, Workspace, StudyMark], InProcessSender]:
    """Sends to MLflow from the test's process; a workspace's new database has its schema."""

    def send(uri: str, workspace: Workspace, mark: StudyMark) -> InProcessSender:
        file = Path(uri.removeprefix("sqlite:///"))
        if uri.startswith("sqlite:///") and not file.exists():
            shutil.copy(request.getfixturevalue("tracking_database"), file)
        return InProcessSender(uri, workspace, mark)

    return send


class NoSender(InProcessSender):
    """Delivers nothing: records count as sent."""

    def deliver(self, records: Sequence[JournalRecord]) -> Receipt:
        return Receipt()


def _sending(sender: Callable[[str, Workspace, StudyMark], InProcessSender]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_study, "StudyTracker", functools.partial(StudyTracker, sender=sender))
        yield


@pytest.fixture(scope="session", autouse=True)
def _searches_send_nothing() -> Iterator[None]:
    """MLflow takes a third of the time of a small search; tests that look at its records ask for `mlflow_records`."""
    yield from _sending(NoSender)


@pytest.fixture(scope="module")
def mlflow_records(sender_in_process: Callable[[str, Workspace, StudyMark], InProcessSender]) -> Iterator[None]:
    """Searches of this file's tests log to MLflow, from the test's process."""
    yield from _sending(sender_in_process)


@pytest.fixture(scope="session", autouse=True)
def _searches_load_no_model() -> Iterator[None]:
    """Loading the networks in another process takes seconds; tests that look at it ask for `models_loaded`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registered_models, "load_faults", lambda folders: {})
        yield


@pytest.fixture(scope="session", autouse=True)
def _names_asked_in_process() -> Iterator[None]:
    """Asking MLflow for a name in another process takes seconds; tests that look at it ask for `names_asked_aside`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name_check, "ask_process", name_check.holder_at)
        yield


@pytest.fixture
def names_asked_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new study's name is looked for in MLflow by a process of its own, as in users' searches."""
    monkeypatch.setattr(name_check, "ask_process", ask_process)


@pytest.fixture
def models_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of this test load their networks elsewhere before these become models, as users' searches do."""
    monkeypatch.setattr(registered_models, "load_faults", load_faults)


@pytest.fixture
def thread_engine(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an engine whose slots are threads of the test's process."""
    monkeypatch.setitem(ENGINES, "threads", ThreadEngine)
    return "threads"


@pytest.fixture
def sender_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of this test send to MLflow from a process of their own, as users' searches do."""
    monkeypatch.setattr(held_study, "StudyTracker", StudyTracker)


@pytest.fixture
def set_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process during a test."""

    def take() -> None:
        time.tzset()
        optuna_rows._offset.cache_clear()

    def change(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        take()

    yield change
    monkeypatch.undo()
    take()
