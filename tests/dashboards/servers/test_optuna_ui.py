"""The Optuna dashboard on a studies' database, for this machine and to look at only (more in test_mlflow_ui.py)."""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
from dataclasses import replace
from typing import Any
from wsgiref.simple_server import demo_app
from wsgiref.util import setup_testing_defaults

import optuna
import pytest

from frostline.dashboards.servers import optuna_ui, serve_ui
from frostline.dashboards.servers.optuna_ui import guard, optuna_server
from frostline.dashboards.servers.web_server import RunningServer, UiError, allowed_hosts
from frostline.objectives.errors import InvalidInputError
from frostline.storage.workspace import STORAGE_VARIABLE

from ...servers import find_free_port


def status(method: str, host: str | None) -> str:
    """What a guarded application on port 8080 answers."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method}
    setup_testing_defaults(environ)
    del environ["HTTP_HOST"]
    environ |= {"HTTP_HOST": host} if host else {}
    said: list[str] = []
    list(guard(demo_app, allowed_hosts(8080))(environ, lambda answer, *_: said.append(answer)))
    return said[0]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_this_machine_may_look(host: str) -> None:
    assert status("GET", host) == "200 OK"
    assert status("HEAD", host) == "200 OK"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1:80", "192.168.0.7:8080", None])
def test_other_names_are_refused(host: str | None) -> None:
    assert status("GET", host) == "403 Forbidden"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    assert status(method, "localhost:8080") == "403 Forbidden"


def test_without_the_extra_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_ui, "find_spec", lambda _: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'frostline\[optuna\]'"):
        optuna_server("sqlite:///studies.db", None, 5000)


def test_the_next_free_port_is_taken_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_ui, "find_spec", lambda name: name)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < optuna_server("sqlite:///studies.db", None, port - 1).port < port + 100
        named = optuna_server("sqlite:///studies.db", port, 5000)
        assert named.port == port
        with pytest.raises(UiError, match=f"--optuna-port {port + 1}"):
            named.require_free()


def test_its_address_comes_with_a_word_on_its_importances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_ui, "find_spec", lambda name: name)
    port, said = find_free_port(), list[str]()
    serving = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    server = replace(optuna_server("sqlite:///studies.db", port, 5000), command=serving, ready="/")

    def write(line: str) -> None:
        said.append(line)
        if line.startswith("Ctrl-C"):
            raise KeyboardInterrupt

    serve_ui("https://mlflow.example", None, port=1, open_browser=False, beside=[(server, "dashboard")], write=write)
    place = said.index(f"Optuna UI: http://127.0.0.1:{port}/dashboard")
    assert "importances mix all strategies" in said[place + 1]
    assert "can contradict those of the report" in said[place + 1]


def test_no_argument_has_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_ui, "find_spec", lambda name: name)
    server = optuna_server("postgresql+psycopg://me:hunter2@db/frostline", None, 5000)
    assert not any("hunter2" in word or "postgresql" in word for word in server.command)
    assert server.environment == {STORAGE_VARIABLE: "postgresql+psycopg://me:hunter2@db/frostline"}


@pytest.mark.slow
def test_it_reads_studies_of_every_database(database_url: str) -> None:
    pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard, of the extra optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(database_url)
    made = optuna.create_study(study_name="flowers", storage=storage, direction="maximize")
    made.optimize(lambda trial: trial.suggest_float("full/learning_rate", 0, 1), n_trials=3)
    drawn = [trial.params["full/learning_rate"] for trial in made.trials]
    storage.remove_session()
    storage.engine.dispose()
    server = optuna_server(database_url, find_free_port(), 0)
    running = RunningServer(server)
    try:
        running.await_answer()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{server.address}/api/studies/1") as answer:
            told = json.load(answer)
    finally:
        running.stop()
    shown = [{each["name"]: each["param_external_value"] for each in trial["params"]} for trial in told["trials"]]
    assert [float(params["full/learning_rate"]) for params in shown] == pytest.approx(drawn)


@pytest.mark.slow
def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard, of the extra optuna")
    running = RunningServer(optuna_server("nosuchdb://me:hunter2@localhost/x", find_free_port(), 0))
    try:
        with pytest.raises(UiError, match="Optuna server exited") as raised:
            running.await_answer()
    finally:
        running.stop()
    assert "hunter2" not in str(raised.value)
