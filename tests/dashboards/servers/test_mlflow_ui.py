from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frostline.dashboards import cli
from frostline.dashboards.servers.mlflow_ui import UiError, serve_ui, study_page
from frostline.dashboards.servers.ports import is_taken, port_owner
from frostline.dashboards.servers.web_server import RunningServer, WebServer

from ...servers import find_free_port

_SERVE = """
import sys
from pathlib import Path
from frostline.dashboards.servers.mlflow_ui import serve_ui, study_page
uri, artifacts, port = sys.argv[1:]
def write(line): print(line, flush=True)
serve_ui(uri, Path(artifacts), port=int(port), open_browser=False, study_url_path=study_page("1"), write=write)
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


@pytest.fixture
def free_port() -> int:
    return find_free_port()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A fresh tracking database."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    code = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).create_experiment('study')"
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, "-c", code, uri], check=True, env=quiet, capture_output=True)
    return uri


def status(address: str, **headers: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def group_members(leader: int) -> list[int]:
    """Processes of the session that a process leads."""
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(process.name)) == leader:
                members.append(int(process.name))
    return members


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.slow  # It starts MLflow's server. The ports, the pages and how its death is told are quick.
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ui_serves_this_machine_alone_and_leaves_nothing(
    store: str, free_port: int, tmp_path: Path, number: signal.Signals
) -> None:
    # Photos lie in the current folder, and files that somebody put beside them.
    for library in ("mlflow", "uvicorn", "fastapi", "flask", "sqlalchemy", "json"):
        (tmp_path / f"{library}.py").write_text("raise SystemExit('it ran')")
    command = [sys.executable, "-P", "-c", _SERVE, store, str(tmp_path / "artifacts"), str(free_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        said = [next(process.stdout) for _ in range(3)]
        address = f"http://127.0.0.1:{free_port}"
        assert f"MLflow UI: {address}/#/experiments/1/runs?workflowType=machine_learning\n" in said
        # The tested MLflow shows our defaults, so there is no message about them.
        assert said[-1] == "Ctrl-C ends it.\n"
        (server,) = children(process.pid)
        assert status(f"{address}/health") == 200
        assert status(f"{address}/") == 200
        assert status(f"{address}/", Host="evil.example") == 403
        assert status(f"{address}/", Host="192.168.0.7") == 403
        assert len(group_members(server)) <= 4
        process.send_signal(number)
        assert process.wait(30) == 0
    deadline = time.monotonic() + 5
    while group_members(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group_members(server) == []
    assert not is_taken("127.0.0.1", free_port)
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ends its servers by signals")
@pytest.mark.slow  # It starts MLflow's server.
def test_without_the_module_that_we_amend_mlflow_is_served_as_it_comes(
    store: str, free_port: int, tmp_path: Path
) -> None:
    # Another installation of the app, found first, for an MLflow that has moved its module.
    (tmp_path / "mlflow_app.py").write_text("from mlflow.server.moved_elsewhere import app\n")
    (tmp_path / "frostline_moved-1.0.dist-info").mkdir()
    about = {"METADATA": "Name: frostline-moved\nVersion: 1.0\n"}
    about["entry_points.txt"] = "[mlflow.app]\nfrostline = mlflow_app:app\n"
    for name, text in about.items():
        (tmp_path / "frostline_moved-1.0.dist-info" / name).write_text(text)
    command = [sys.executable, "-c", _SERVE, store, str(tmp_path / "artifacts"), str(free_port)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        assert process.stdout is not None
        said = "".join(next(process.stdout) for _ in range(4))
        assert "choose Model training at the top left" in said
        assert status(f"http://127.0.0.1:{free_port}/") == 200
        process.terminate()
        assert process.wait(30) == 0
    assert not is_taken("127.0.0.1", free_port)


_PAGES = """
import json, sys
from pathlib import Path
from flask import Flask
from frostline.dashboards.servers.mlflow_app import MARK, app, set_defaults

def page(text, endpoint):
    folder = Path(sys.argv[1]) / endpoint
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text(text)
    flask = Flask("mlflow", static_folder=str(folder))
    flask.add_url_rule("/", endpoint, lambda: flask.send_static_file("index.html"))
    set_defaults(flask)
    with flask.test_client().get("/") as answer:
        return answer.status_code, MARK in answer.text

print(json.dumps([
    page("<html><head></head></html>", "serve"),
    page("<html><HEAD lang=en></HEAD></html>", "serve"),
    page("<html><head></head></html>", "serve_page"),
]))
"""


def test_pages_that_are_not_as_expected_stay_as_they_are(tmp_path: Path) -> None:
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", _PAGES, str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet, cwd=tmp_path).stdout
    amended, without_place, without_endpoint = json.loads(said.splitlines()[-1])
    assert amended == [200, True]
    assert without_place == [200, False]
    assert without_endpoint == [200, False]


def test_taken_port_names_its_owner_and_the_option(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(UiError) as raised:
        serve_ui("sqlite:///nowhere.db", None, port=port, open_browser=False)
    assert f"Port {port} is taken by" in str(raised.value)
    assert f"--port {port + 1}" in str(raised.value)
    if sys.platform.startswith("linux"):
        assert f"(pid {os.getpid()})" in str(raised.value)


def test_free_port_has_no_owner(free_port: int) -> None:
    assert not is_taken("127.0.0.1", free_port)
    assert port_owner(free_port) is None


def test_no_file_of_the_current_folder_stands_in_for_a_library(
    free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("")
    monkeypatch.chdir(tmp_path)
    server = WebServer("x", [sys.executable, "-c", "import json; print(json.dumps)"], "127.0.0.1", free_port, "", "/")
    running = RunningServer(server)
    try:
        # It ends at once, and the end of its log is told.
        with pytest.raises(UiError, match="<function dumps"):
            running.await_answer()
    finally:
        running.stop()


def test_death_is_reported_without_the_password(free_port: int) -> None:
    with pytest.raises(UiError) as raised:
        serve_ui("nosuchdb://me:hunter2@localhost/x", None, port=free_port, open_browser=False, write=lambda _: None)
    assert re.search(r"server exited \(exit code \d+\)", str(raised.value))
    assert "hunter2" not in str(raised.value)


def test_host_of_another_machine_is_an_error(free_port: int) -> None:
    with pytest.raises(UiError, match=r"Cannot listen on 192\.0\.2\.1:\d+: .* Choose another port with --port"):
        serve_ui("sqlite:///nowhere.db", None, host="192.0.2.1", port=free_port, open_browser=False)


def test_tracking_server_is_only_named() -> None:
    said: list[str] = []
    serve_ui(
        "https://me:hunter2@mlflow.example/base/",
        None,
        port=1,
        open_browser=False,
        study_url_path=study_page("3"),
        write=said.append,
    )
    assert said == ["MLflow UI: https://mlflow.example/base/#/experiments/3/runs?workflowType=machine_learning"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="screens are known by the environment")
@pytest.mark.parametrize("screen", [":0", None])
def test_the_studys_page_is_opened_where_there_is_a_screen(tmp_path: Path, screen: str | None) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n')
    browser.chmod(0o755)
    script = (
        "from frostline.dashboards.servers.mlflow_ui import serve_ui, study_page\n"
        "serve_ui('https://mlflow.example', None, port=1, study_url_path=study_page('3', 'frostline'))"
    )
    others = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment = {**others, "BROWSER": f"{browser} %s", **({"DISPLAY": screen} if screen else {})}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    page = "https://mlflow.example/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=frostline"
    assert said.stdout == f"MLflow UI: {page}\n"
    assert (tmp_path / "opened").exists() == (screen is not None)
    assert screen is None or (tmp_path / "opened").read_text() == f"{page}\n"


def test_of_an_mlflow_that_stores_views_in_another_way_the_plain_page_is_opened_with_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Any = SimpleNamespace(mark=None)
    monkeypatch.setattr("frostline.storage.tracking.find_runs", lambda uri, mark: ("3", {}))
    monkeypatch.setattr("frostline.storage.tracking.keep_view", lambda uri, experiment: "frostline")
    monkeypatch.setattr("frostline.dashboards.servers.reads_views", lambda words: False)
    assert cli._page("sqlite:///mlflow.db", found) == study_page("3")
    assert "its pages do not read Frostline's view" in capsys.readouterr().out
    # A tracking server has its own pages.
    assert cli._page("https://mlflow.example", found) == study_page("3", "frostline")
    assert capsys.readouterr().out == ""
