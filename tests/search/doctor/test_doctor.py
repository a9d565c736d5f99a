"""The doctor: every damage is made by hand on a study that was searched, found, mended, and gone then."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.search.execution.run import run_search
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.storage.database.leases import LeaseKeeper
from frostline.storage.files.checkpoints import CheckpointFolder
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.tracker import TrackedRun
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

pytestmark = pytest.mark.usefixtures("mlflow_records")

STUDY = "tiny"
SPACE = """
[shared]
epochs = {epochs}
patience = 99
batch_size = 16

[feature_extraction]
learning_rate = {{ low = 1e-3, high = 1e-2, log = true }}

[full]
learning_rate = 3e-3
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a study that reached its verdict; tests work on copies."""
    root = tmp_path_factory.mktemp("doctor")
    (root / "space.toml").write_text(SPACE.format(epochs=2))
    request = Request(
        *(few_digits(), "tiny_network:create", "none", 32),
        trials=3,
        finals_seeds=1,
        candidates=1,
        name=STUDY,
        space=root / "space.toml",
        device="cpu",
    )
    run_search(request, Workspace(root / "ws")).close()
    return root / "ws"


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "ws")


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=TerminalViews(), prog_name="frostline")


def examine(root: Path, *options: str) -> dict[str, Any]:
    result = invoke("doctor", STUDY, "--workspace", root, "--json", *options)
    described = json.loads(result.stdout)
    assert result.exit_code == (0 if described["agrees"] else 1), result.output
    return described


def found(described: dict[str, Any]) -> list[str]:
    return [f"{finding['where']}: {finding['what']}" for finding in described["problems"]]


def sql(root: Path, *statements: str) -> None:
    with closing(sqlite3.connect(root / "studies.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def client(root: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=Workspace(root).tracking_url)


def runs(root: Path, key: str) -> list[Any]:
    tracking = client(root)
    experiment = tracking.get_experiment_by_name(STUDY)
    assert experiment is not None
    return list(tracking.search_runs([experiment.experiment_id], f"tags.`frostline.key` = '{key}'"))


def run(root: Path, key: str) -> Any:
    (only,) = runs(root, key)
    return only


def final(root: Path) -> str:
    """Key of a final's run."""
    study = Study.load(STUDY, Workspace(root))
    first = study.final_records()[0]
    study.close()
    return f"final-{first.strategy}-{first.trial_number}-{first.seed}"


def files(root: Path) -> list[Path]:
    """All but what SQLite has beside a database while it is open."""
    return sorted(file for file in root.rglob("*") if not file.name.endswith(("-shm", "-wal")))


# Damage to tables. Each: how it is made, and what is said.


def unhold(root: Path) -> None:
    sql(
        root,
        "UPDATE trials SET state = 'RUNNING' WHERE number = 1",
        "UPDATE frostline_tickets SET done = 0 WHERE kind = 'trial' AND number = 1",
    )
    end_run(root, "trial-1")


def unfinish(root: Path) -> None:
    sql(root, "UPDATE trials SET state = 'WAITING' WHERE number = 1")
    end_run(root, "trial-1")


def end_run(root: Path, key: str) -> None:
    """As it would be had the training been cut off."""
    client(root).set_terminated(run(root, key).info.run_id, "KILLED")


def lose(root: Path) -> None:
    tables = ("params", "values", "intermediate_values", "user_attributes", "system_attributes")
    which = "(SELECT trial_id FROM trials WHERE number = 2)"
    sql(root, *[f"DELETE FROM trial_{name} WHERE trial_id IN {which}" for name in tables])
    sql(root, "DELETE FROM trials WHERE number = 2")
    client(root).delete_run(run(root, "trial-2").info.run_id)


def open_ticket(root: Path) -> None:
    sql(root, "UPDATE frostline_tickets SET done = 0 WHERE kind = 'trial' AND number = 0")


def double(root: Path) -> None:
    sql(root, "INSERT INTO trials (number, study_id, state) SELECT number, study_id, 'RUNNING' FROM trials LIMIT 1")


def drop_ticket(root: Path) -> None:
    sql(root, "DELETE FROM frostline_tickets WHERE kind = 'trial' AND number = 1")


def strand(root: Path) -> None:
    """A worker of another machine took a trial, and was never heard of again."""
    unhold(root)
    sql(
        root,
        "UPDATE frostline_tickets SET owner = 'far/0.0/7/1/abc', expires = 1000.0 WHERE kind = 'trial' AND number = 1",
    )


def open_final(root: Path) -> None:
    sql(root, "UPDATE frostline_tickets SET done = 0 WHERE kind = 'final' AND number = 1")


def untick_final(root: Path) -> None:
    sql(root, "DELETE FROM frostline_tickets WHERE kind = 'final' AND number = 1")


def lose_final(root: Path) -> None:
    client(root).delete_run(run(root, final(root)).info.run_id)
    sql(root, "DELETE FROM frostline_finals WHERE id = (SELECT min(id) FROM frostline_finals)")


# Damage to files.


def unsend(root: Path) -> None:
    with closing(Journal(Workspace(root).journal(STUDY))) as journal:
        TrackedRun(journal, "trial-0").log_summary({"afterthought": 1.0}, {})


def garble_journal(root: Path) -> None:
    unsend(root)
    file = Workspace(root).journal(STUDY)
    file.write_bytes(file.read_bytes().replace(b"afterthought", b"afterthougth"))


def leave_checkpoint(root: Path) -> None:
    folder = Workspace(root).checkpoints(STUDY) / "trial-1" / "1"
    folder.mkdir(parents=True)
    (folder / "latest").write_bytes(b"something")


def garble_features(root: Path) -> None:
    file = sorted((root / "features").glob("*.features"))[0]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


# Damage to MLflow.


def delete_run(root: Path) -> None:
    client(root).delete_run(run(root, "trial-1").info.run_id)


def delete_final_run(root: Path) -> None:
    client(root).delete_run(run(root, final(root)).info.run_id)


def delete_parent(root: Path) -> None:
    client(root).delete_run(run(root, f"study-{STUDY}").info.run_id)


def delete_strategy(root: Path) -> None:
    client(root).delete_run(run(root, "strategy-full").info.run_id)


def double_run(root: Path) -> None:
    first = run(root, "trial-1")
    again = client(root).create_run(first.info.experiment_id, tags=first.data.tags)
    client(root).set_terminated(again.info.run_id, "FINISHED")


def restate(root: Path) -> None:
    client(root).set_terminated(run(root, "trial-1").info.run_id, "FAILED")
    client(root).set_tag(run(root, "trial-1").info.run_id, "trial.state", "failed")


def rescore(root: Path) -> None:
    client(root).log_metric(run(root, "trial-1").info.run_id, "score", 0.123)


def rescore_final(root: Path) -> None:
    client(root).log_metric(run(root, final(root)).info.run_id, "test_score", 0.123)


def lose_steps(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        connection.execute(
            "DELETE FROM metrics WHERE key = 'curves/val_score' AND step = 0 AND run_uuid = ?",
            (run(root, "trial-1").info.run_id,),
        )


def keep_running(root: Path) -> None:
    client(root).update_run(run(root, f"study-{STUDY}").info.run_id, status="RUNNING")


def keep_strategy_running(root: Path) -> None:
    client(root).update_run(run(root, "strategy-full").info.run_id, status="RUNNING")


def invent(root: Path) -> None:
    first = run(root, "trial-1")
    again = client(root).create_run(first.info.experiment_id, tags={**first.data.tags, "frostline.key": "trial-99"})
    client(root).set_terminated(again.info.run_id, "FINISHED")


def unnest(root: Path) -> None:
    client(root).set_tag(run(root, "trial-1").info.run_id, "mlflow.parentRunId", "nowhere")


# Those that are found and mended as others are.
ALIKE = {drop_ticket, untick_final, garble_journal, delete_final_run, delete_strategy, rescore_final, invent, unnest}
ALIKE |= {keep_strategy_running, lose, restate}
DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (unhold, "trial 1: Optuna has it as running, but no worker holds its lease"),
    (unfinish, "trial 1: its ticket is done, but the trial is waiting in Optuna"),
    (lose, "trial 2: its ticket is done, but the trial is missing in Optuna"),
    (open_ticket, "trial 0: it is complete in Optuna, but its ticket is open"),
    (double, "trial 0: Optuna has number 0 twice: complete and running"),
    (drop_ticket, "trial 1: 1 of 3 trials of the budget have no ticket"),
    (strand, r"trial 1: lease held by far \(process 7\) has expired \(no heartbeat for \d+ s\)"),
    (open_final, r"final full-1 1000: it is recorded, but its ticket is open"),
    (untick_final, r"final full-1 1000: it is recorded, but has no ticket"),
    (lose_final, r"final \S+ 1000: its ticket is done, but it is not recorded"),
    (unsend, r".*tiny\.jsonl: 1 records are not in MLflow yet"),
    (garble_journal, r".*tiny\.jsonl: 1 lines are damaged and may be missing in MLflow"),
    (leave_checkpoint, ".*checkpoints/tiny/trial-1: checkpoints of a training that no worker will resume"),
    (garble_features, r".*\.features: the file \(features\) is incomplete or was changed"),
    (delete_run, "trial 1: MLflow has no run of it"),
    (delete_final_run, r"final \S+ 1000: MLflow has no run of it"),
    (delete_parent, "study tiny: MLflow has no run of the study"),
    (delete_strategy, "strategy full: MLflow has no run above its finals"),
    (double_run, "trial 1: it has more than one MLflow run"),
    (restate, "trial 1: it is complete; MLflow has it as failed, FAILED"),
    (rescore, r"trial 1: its score is 0\.\d+; MLflow has 0\.123"),
    (rescore_final, r"final \S+ 1000: its test_score is [01]\.\d+; MLflow has 0\.123"),
    (lose_steps, "trial 1: MLflow lacks its epochs 0"),
    (keep_running, "study tiny: MLflow has its run as RUNNING, but no worker works on it"),
    (keep_strategy_running, "strategy full: MLflow has its run as RUNNING, but no worker works on it"),
    (invent, "trial 99: MLflow has a run of it, but the study has no such trial"),
    (unnest, "trial 1: its run is not nested in the study's"),
]


def test_a_study_that_was_searched_is_sound(root: Path) -> None:
    before = files(root)
    assert examine(root) == {
        "study": STUDY,
        "agrees": True,
        "problems": [],
        "fixed": [],
        "active_workers": [],
        "notes": [],
    }
    assert files(root) == before
    assert "no inconsistencies" in invoke("doctor", STUDY, "--workspace", root).stdout


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(damage, said, id=damage.__name__, marks=[pytest.mark.slow] if damage in ALIKE else [])
        for damage, said in DAMAGES
    ],
)
def test_a_damage_is_found_alone_mended_and_gone(root: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(root)
    described = examine(root)
    assert len(found(described)) == 1, found(described)
    assert re.match(said, found(described)[0]), found(described)
    mended = examine(root, "--fix")
    assert mended["agrees"], found(mended)
    assert any(re.match(said, f"{finding['where']}: {finding['what']}") for finding in mended["fixed"])
    assert found(examine(root)) == []


@pytest.mark.parametrize(
    ("damage", "key"),
    [
        (delete_parent, f"study-{STUDY}"),
        pytest.param(delete_strategy, "strategy-full", marks=pytest.mark.slow),
    ],
)
def test_the_command_that_is_told_logs_the_numbers_again(root: Path, damage: Callable[[Path], None], key: str) -> None:
    def logged() -> dict[str, float]:
        return run(root, key).data.metrics

    before = logged()
    assert {"test_score", "probability_best"} <= before.keys()
    damage(root)
    told = " ".join(finding["remedy"] for finding in examine(root, "--fix")["fixed"])
    assert "test_score" not in logged()
    (command,) = set(re.findall(r"; frostline (.*?) (?:logs the verdict again|adds its numbers)", told))
    assert invoke(*shlex.split(command)).exit_code == 0
    assert logged() == pytest.approx(before)
    assert found(examine(root)) == []


# Checkpoints, of a trial that is cut off


def test_a_torn_checkpoint_is_told_and_the_one_before_stays(root: Path) -> None:
    unhold(root)
    sql(root, "UPDATE trials SET state = 'WAITING' WHERE number = 1")
    place = CheckpointFolder(Workspace(root).checkpoints(STUDY) / "trial-1", 1)
    for state in (b"first", b"second"):
        place.save(state)
    assert found(examine(root)) == []
    latest = Workspace(root).checkpoints(STUDY) / "trial-1" / "1" / "latest"
    latest.write_bytes(latest.read_bytes()[:-2])
    assert found(examine(root)) == [f"{latest}: a checkpoint is incomplete or was changed"]
    assert examine(root, "--fix")["agrees"]
    assert place.load() == b"first"


# What cannot be mended by itself, or not now


def test_an_mlflow_that_is_away_is_told_and_the_rest_is_compared(root: Path) -> None:
    open_ticket(root)
    with closing(sqlite3.connect(root / "studies.db")) as connection, connection:
        connection.execute(
            "UPDATE study_user_attributes SET value_json = ? WHERE key = 'frostline:tracking'",
            ('"http://user:secret@127.0.0.1:9"',),
        )
    mended = examine(root, "--fix")
    assert [finding["where"] for finding in mended["problems"]] == ["MLflow"]
    assert [finding["where"] for finding in mended["fixed"]] == ["trial 0"]
    assert "secret" not in json.dumps(mended)
    assert "does not answer" in mended["problems"][0]["what"]


def test_a_trial_of_another_program_is_for_a_larger_budget(root: Path) -> None:
    study = Study.load(STUDY, Workspace(root))
    study.inner.ask()
    study.close()
    described = examine(root, "--fix")
    assert found(described) == ["trial 3: a running trial is beyond the budget of 3: another program made it"]
    assert "--trials 4" in described["problems"][0]["remedy"]


def test_while_others_work_on_it_nothing_is_mended_that_could_disturb_them(root: Path) -> None:
    unhold(root)
    study = Study.load(STUDY, Workspace(root))
    keeper = LeaseKeeper(study.database, 60.0)
    asked = keeper.now()
    leases = study.database.run_with_retry(lambda session: study.tickets.claim(session, keeper.owner, 60.0, 1))
    keeper.add(leases, asked)
    sql(root, "UPDATE trials SET state = 'WAITING' WHERE number = 0")
    garble_features(root)
    said = invoke("doctor", STUDY, "--workspace", root, "--fix")
    assert said.exit_code == 1
    assert "fixed   " in said.stdout
    assert ".features" in said.stdout
    assert "found   trial 0: its ticket is done, but the trial is waiting" in said.stdout
    assert f"(process {os.getpid()}) at trial 1" in said.stdout
    assert f"frostline stop {STUDY}" in said.stdout
    keeper.close()
    study.close()


def tear(journal: Path) -> None:
    with journal.open("ab") as file:
        file.write(bytes(50))


def empty(journal: Path) -> None:
    journal.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "command"),
    [
        *((tear, "sync"), (empty, "sync"), (Path.unlink, "resume")),
        pytest.param(tear, "resume", marks=pytest.mark.slow),
        pytest.param(empty, "resume", marks=pytest.mark.slow),
        pytest.param(Path.unlink, "sync", marks=pytest.mark.slow),
    ],
)
def test_what_a_power_failure_took_from_the_journal_is_logged_again_without_the_doctor(
    root: Path, damage: Callable[[Path], None], command: str
) -> None:
    tracking = client(root)
    # As if the journal's last records had been lost: no end of one trial, nothing of another, no end of a final.
    tracking.update_run(run(root, "trial-1").info.run_id, status="RUNNING")
    tracking.set_tag(run(root, "trial-1").info.run_id, "trial.state", "unfinished")
    tracking.delete_run(run(root, "trial-2").info.run_id)
    study = Study.load(STUDY, Workspace(root))
    (final, *_) = study.final_scores()
    study.close()
    tracking.update_run(run(root, f"final-{final.strategy}-{final.trial_number}-{final.seed}").info.run_id, "RUNNING")
    before = lengths(root, "trial-0")
    damage(Workspace(root).journal(STUDY))
    assert invoke(command, STUDY, "--workspace", root).exit_code == 0
    assert examine(root)["agrees"]
    assert run(root, "trial-2").data.params["strategy"] == run(root, "trial-2").data.tags["strategy"]
    assert lengths(root, "trial-0") == before


def lengths(root: Path, key: str) -> dict[str, int]:
    """Points of each metric of a run."""
    found, tracking = run(root, key), client(root)
    return {name: len(tracking.get_metric_history(found.info.run_id, name)) for name in found.data.metrics}


COMMAND = "import sys; from frostline.dashboards.cli import main; sys.argv[0] = 'frostline'; main()"


def cut_off(root: Path, done: int, *arguments: str) -> None:
    """Run a command until so many trials are done; then its processes are killed."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--device", "cpu", "--workspace", str(root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FROSTLINE_CHECKPOINT_SECONDS": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 240
        while trials_done(root) < done or not leased(root):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)


def trials_done(root: Path) -> int:
    return tickets_where(root, "done AND kind = 'trial'")


def leased(root: Path) -> int:
    return tickets_where(root, "NOT done AND owner IS NOT NULL")


def tickets_where(root: Path, condition: str) -> int:
    if not (root / "studies.db").exists():
        return 0
    with closing(sqlite3.connect(root / "studies.db", timeout=60)) as connection:
        try:
            return connection.execute(f"SELECT count(*) FROM frostline_tickets WHERE {condition}").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


@pytest.mark.slow
def test_a_killed_search_is_put_right_by_the_doctor_and_by_a_resume(tmp_path: Path, tracking_database: Path) -> None:
    space, root = tmp_path / "space.toml", tmp_path / "ws"
    root.mkdir()
    shutil.copy(tracking_database, root)
    space.write_text(SPACE.format(epochs=12))
    asked = (few_digits(), "--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32")
    more = ("--space", str(space), "--trials", "6", "--seeds", "1", "--candidates", "1", "--name", STUDY)
    cut_off(root, 1, "search", *asked, *more)
    left = [re.sub(r"\d+", "N", line).replace(str(root), "") for line in found(examine(root))]
    assert any("the worker has ended" in line for line in left)
    usual = "the worker has ended|records are not in MLflow|MLflow has its run as RUNNING|MLflow has no run"
    assert all(re.search(usual, line) for line in left), left
    assert examine(root, "--fix")["agrees"]
    assert found(examine(root)) == []
    cut_off(root, 3, "resume", STUDY)
    assert invoke("resume", STUDY, "--workspace", root, "--device", "cpu").exit_code == 0
    assert found(examine(root)) == []
    study = Study.load(STUDY, Workspace(root))
    assert [trial.number for trial in study.trials()] == list(range(6))
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}
    study.close()


# Is this machine ready?


def test_a_machine_is_told_line_by_line_and_nothing_is_made(tmp_path: Path) -> None:
    said = invoke("doctor", "--workspace", tmp_path / "none", "--json")
    assert said.exit_code == 0, said.output
    lines = {line["what"]: line for line in json.loads(said.stdout)}
    assert {"Python", "torch", "torchvision", "cores", "workspace", "database", "MLflow"} <= lines.keys()
    assert lines["torch"]["found"] == torch.__version__
    assert all(line["ok"] for line in lines.values())
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_answer_is_told_with_what_to_type(tmp_path: Path) -> None:
    storage, tracking = "postgresql+psycopg://user:secret@127.0.0.1:9/none", "http://user:secret@127.0.0.1:9"
    said = invoke("doctor", "--workspace", tmp_path, "--storage", storage, "--tracking-uri", tracking)
    assert said.exit_code == 1
    assert "secret" not in said.output
    assert len(re.findall(r"(?m)^not ok  (database|MLflow)", said.stdout)) == 2
    for option in ("--storage", "--tracking-uri"):
        assert option in said.stdout


@pytest.mark.parametrize(
    ("revision", "age", "remedy"),
    [("451aebb31d03", "older", "mlflow db upgrade sqlite:///"), ("fffffffffff1", "newer", "pip install --upgrade")],
)
def test_a_schema_of_another_mlflow_is_told_with_what_to_type(root: Path, revision: str, age: str, remedy: str) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    said = invoke("doctor", "--workspace", root)
    assert said.exit_code == 1
    assert re.search(
        rf"not ok  MLflow +its database has the schema of an? {age} MLflow.*\n +-> .*{remedy}", said.stdout
    )
    (finding,) = examine(root)["problems"]
    assert (finding["where"], finding["can_be_mended"]) == ("MLflow", False)
    assert f"{age} MLflow (revision {revision}" in finding["what"]
    assert remedy in finding["remedy"]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    said = invoke("doctor", "--workspace", tmp_path)
    assert said.exit_code == 1
    assert "free some space" in said.stdout


def test_what_does_not_go_together_is_refused() -> None:
    assert "frostline doctor STUDY --fix" in invoke("doctor", "--fix").stderr
    assert invoke("doctor", "--fix").exit_code == 2
    assert invoke("doctor", STUDY, "--tracking-uri", "http://x").exit_code == 2
