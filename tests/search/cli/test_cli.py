"""The command line end to end: a search, its interruptions and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.core
import typer.main
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.calibration import CALIBRATED_METRICS
from frostline.objectives.epochs import EpochResult
from frostline.objectives.metrics import METRICS, OBJECTIVES
from frostline.search.study.observer import Observer
from frostline.search.study.study import Study
from frostline.storage.timing import Timing
from frostline.storage.tracking.mlflow_runs import KEY
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

pytestmark = pytest.mark.usefixtures("mlflow_records")

STUDY, DATA = "tiny", few_digits()
EPOCHS, TRIALS, SEEDS, STRATEGIES = 6, 3, 2, 2
SPACE = f"""
[shared]
epochs = {EPOCHS}
patience = 99
batch_size = 16

[feature_extraction]
learning_rate = {{ low = 1e-3, high = 1e-2, log = true }}

[full]
learning_rate = {{ low = 1e-3, high = 1e-2, log = true, default = 3e-3 }}
"""


def invoke(*args: str | Path, views: TerminalViews | None = None) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=views or TerminalViews(), prog_name="frostline")


def search_args(space: Path, root: Path, trials: int = TRIALS) -> list[str]:
    return [
        *("search", DATA, "--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32"),
        *("--space", str(space), "--trials", str(trials), "--seeds", str(SEEDS), "--name", STUDY),
        *("--candidates", "1"),
        *("--device", "cpu", "--workspace", str(root)),
    ]


def resume_args(root: Path) -> list[str]:
    return ["resume", STUDY, "--device", "cpu", "--workspace", str(root)]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "space.toml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, space: Path) -> Path:
    """The workspace of a study that ran undisturbed; tests leave it as it is."""
    root = tmp_path_factory.mktemp("finished")
    result = invoke(*search_args(space, root), "--json")
    assert result.exit_code == 0, result.output
    (root / "search.json").write_text(result.stdout)
    (root / "search.err").write_text(result.stderr)
    return root


@pytest.fixture
def root(tmp_path: Path, tracking_database: Path) -> Path:
    """A workspace without studies."""
    shutil.copy(tracking_database, tmp_path)
    return tmp_path


def load(root: Path) -> Study:
    return Study.load(STUDY, Workspace(root))


def scores(root: Path) -> dict[int, Any]:
    return {trial.number: (trial.strategy, trial.config, trial.score, trial.curve) for trial in load(root).trials()}


def final_scores(root: Path) -> dict[tuple[str, int, int], tuple[float, float]]:
    return {
        (final.strategy, final.trial_number, final.seed): (final.val_score, final.test_score)
        for final in load(root).final_records()
    }


def client(root: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=Workspace(root).tracking_url)


def runs(root: Path) -> list[Run]:
    tracking = client(root)
    experiment = tracking.get_experiment_by_name(STUDY)
    assert experiment is not None
    return list(tracking.search_runs([experiment.experiment_id], max_results=1000))


def parent(root: Path) -> Run:
    (found,) = [run for run in runs(root) if "mlflow.parentRunId" not in run.data.tags]
    return found


def nested(root: Path, kind: str) -> list[Run]:
    """Trials below the study's run, finals below the run of their strategy."""
    every = {run.info.run_id: run for run in runs(root)}
    found = [run for run in every.values() if run.data.tags.get("kind") == kind]
    for run in found:
        above = every[run.data.tags["mlflow.parentRunId"]]
        assert above.data.tags.get("kind") == ("strategy" if kind == "final" else None)
        assert above.data.tags.get("strategy") in (None, run.data.tags["strategy"])
    return found


def losses(root: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Steps and losses of every trial and of the finals of full, to the last bit.

    Of the two trials of feature extraction, the finalist may be either: equal scores go to the quicker.
    """
    tracking = client(root)
    compared = [*nested(root, "trial"), *(run for run in nested(root, "final") if run.data.tags["strategy"] == "full")]
    found = {}
    for run in compared:
        train, val = (
            tracking.get_metric_history(run.info.run_id, key) for key in ("curves/train_loss", "curves/val_loss")
        )
        pairs = zip(train, val, strict=True)
        found[run.info.run_name or ""] = sorted((one.step, one.value, other.value) for one, other in pairs)
    return found


def assert_undisturbed(root: Path, finished: Path) -> None:
    """The study came out as the one that nothing disturbed."""
    assert scores(root) == scores(finished)
    assert losses(root) == losses(finished)
    own, other = final_scores(root), final_scores(finished)
    both = own.keys() & other.keys()
    assert len([strategy for strategy, *_ in both if strategy == "full"]) == SEEDS
    assert {key: own[key] for key in both} == {key: other[key] for key in both}


def assert_exact(root: Path, trials: int = TRIALS) -> None:
    """So many trials, none twice; one finished MLflow run each, no step of a metric twice."""
    records = load(root).trials()
    assert [record.number for record in records] == list(range(trials))
    assert {record.state for record in records} <= {"complete", "pruned"}
    found = nested(root, "trial")
    assert sorted(f"trial-{record.number}" for record in records) == sorted(run.data.tags[KEY] for run in found)
    assert len(nested(root, "final")) == len(load(root).final_records()) == STRATEGIES * SEEDS
    assert {run.info.status for run in runs(root)} == {"FINISHED"}
    tracking = client(root)
    for run in [*found, *nested(root, "final")]:
        for key in run.data.metrics:
            steps = [metric.step for metric in tracking.get_metric_history(run.info.run_id, key)]
            assert max(Counter(steps).values()) == 1, (run.info.run_name, key, steps)
    assert len(nested(root, "strategy")) == STRATEGIES
    versions = tracking.search_model_versions(f"name = '{STUDY}'")
    assert len({version.tags["frostline.digest"] for version in versions}) == len(versions) >= STRATEGIES
    aliases = tracking.get_registered_model(STUDY).aliases
    assert aliases.keys() == {"champion", "strategy-feature_extraction", "strategy-full"}
    verdict = load(root).results().verdict
    assert verdict is not None
    assert aliases["champion"] == aliases[f"strategy-{verdict.winner.strategy}"]


# From the search to the verdict


def test_the_tracking_database_holds_every_trial_and_final_once(finished: Path) -> None:
    assert_exact(finished)
    assert parent(finished).data.tags["frostline.data"] == DATA
    for run in nested(finished, "trial"):
        assert run.data.tags["strategy"] in ("feature_extraction", "full")
        assert run.data.tags["trial.state"] == "complete"
        assert {"strategy", "learning_rate", "epochs", "freeze_depth"} <= run.data.params.keys()
        assert {f"curves/{name}" for name in ("train_loss", "val_loss", "val_score")} <= run.data.metrics.keys()
        assert {"score", "seconds", "trainable_parameters"} <= run.data.metrics.keys()
        assert {f"val/{name}" for name in METRICS} <= run.data.metrics.keys()
        assert run.data.metrics["val/accuracy"] == run.data.metrics["score"]
        history = client(finished).get_metric_history(run.info.run_id, "curves/val_score")
        assert [metric.step for metric in history] == list(range(EPOCHS))
        assert run.data.metrics["score"] == max(metric.value for metric in history)
    for run in nested(finished, "final"):
        assert {"test_score", "score", "curves/val_score"} <= run.data.metrics.keys()
        assert {f"{split}/{name}" for split in ("val", "test") for name in METRICS} <= run.data.metrics.keys()
        assert run.data.metrics["test/accuracy"] == run.data.metrics["test_score"]
        assert {"temperature", *(f"test_calibrated/{name}" for name in CALIBRATED_METRICS)} <= run.data.metrics.keys()
    for contender in json.loads((finished / "search.json").read_text())["verdict"]["contenders"]:
        assert parent(finished).data.metrics[f"final/{contender['strategy']}"] == contender["test"]["mean"]
        assert contender["metrics"]["accuracy"] == pytest.approx(contender["test"]["mean"])
        finals = nested(finished, "final")
        seeds = [run.data.metrics for run in finals if run.data.tags["strategy"] == contender["strategy"]]
        assert len(seeds) == SEEDS
        assert contender["temperature"] == pytest.approx(np.mean([seed["temperature"] for seed in seeds]))
        assert contender["calibrated_metrics"].keys() == set(CALIBRATED_METRICS)
        for name, mean in contender["calibrated_metrics"].items():
            assert mean == pytest.approx(np.mean([seed[f"test_calibrated/{name}"] for seed in seeds]))


def test_records_hold_the_log_loss_of_the_kept_weights(finished: Path) -> None:
    best_losses = []
    for run in nested(finished, "trial"):
        history = client(finished).get_metric_history(run.info.run_id, "curves/val_loss")
        best_losses.append({each.step: each.value for each in history}[int(run.data.metrics["best_epoch"])])
    recorded = sorted(trial.log_loss or 0.0 for trial in load(finished).trials())
    assert recorded == pytest.approx(sorted(best_losses), rel=1e-4)


def test_both_strategies_begin_with_their_default_configuration(finished: Path) -> None:
    first, second, _ = load(finished).trials()
    assert (first.strategy, first.config["learning_rate"]) == ("feature_extraction", 1e-3)
    assert (second.strategy, second.config["learning_rate"]) == ("full", 3e-3)


def test_json_is_all_there_is_on_standard_output(finished: Path) -> None:
    described = json.loads((finished / "search.json").read_text())
    assert described["study"] == STUDY
    assert described["budget"] == described["finished"] == TRIALS
    assert described["verdict"]["winner"] in ("feature_extraction", "full")
    for contender in described["verdict"]["contenders"]:
        own = [
            test for (strategy, *_), (_, test) in final_scores(finished).items() if strategy == contender["strategy"]
        ]
        assert contender["test"]["scores"] == own
    errors = (finished / "search.err").read_text()
    assert "trial 3/3" in errors
    report = Workspace(finished).report(STUDY)
    assert f"Report:  {report}" in errors
    assert described["verdict"]["sentence"].split(":")[0] in report.read_text(encoding="utf-8")


def test_the_same_command_again_repeats_nothing(finished: Path, space: Path) -> None:
    before, finals, ids = scores(finished), final_scores(finished), {run.info.run_id for run in runs(finished)}
    result = invoke(*search_args(space, finished))
    assert result.exit_code == 0, result.output
    assert f"{TRIALS} done" in result.stdout
    assert re.search(" (wins:|leads with) ", " ".join(result.stdout.split()))
    assert scores(finished) == before
    assert final_scores(finished) == finals
    assert {run.info.run_id for run in runs(finished)} == ids
    assert_exact(finished)


@pytest.mark.slow  # Cached equals uncached is quick in a search of test_channels.py.
@pytest.mark.parametrize("budget", ["5KB", "0"])
def test_a_study_with_a_small_cache_or_none_ends_with_the_same_scores(
    root: Path, finished: Path, space: Path, budget: str
) -> None:
    result = invoke(*search_args(space, root), "--cache-budget", budget)
    assert result.exit_code == 0, result.output
    assert (scores(root), final_scores(root)) == (scores(finished), final_scores(finished))
    kept = sum(file.stat().st_size for file in Workspace(root).features.glob("*.features"))
    everything = sum(file.stat().st_size for file in Workspace(finished).features.glob("*.features"))
    assert kept <= (5_000 if budget == "5KB" else 0) < everything


def test_a_cache_budget_that_is_no_size_is_refused_with_the_other_faults(tmp_path: Path, space: Path) -> None:
    result = invoke(*search_args(space, tmp_path / "new"), "--cache-budget", "lots", "--metric", "f2")
    assert result.exit_code == 2
    assert "--cache-budget 'lots' is not a size. Write a number with its unit, such as 200MB" in result.stderr
    assert "f2" in result.stderr
    assert not (tmp_path / "new").exists()


def test_status_verdict_and_report_read_a_finished_study(finished: Path) -> None:
    before, finals = scores(finished), final_scores(finished)
    status = invoke("status", STUDY, "--workspace", finished, "--json")
    assert status.exit_code == 0, status.output
    assert json.loads(status.stdout) == json.loads((finished / "search.json").read_text())
    everything = json.loads(invoke("status", "--workspace", finished, "--json").stdout)
    assert [each["study"] for each in everything] == [STUDY]
    for args in (["status", STUDY], ["status"]):
        shown = invoke(*args, "--workspace", finished)
        assert shown.exit_code == 0, shown.output
        assert STUDY in shown.stdout or "full" in shown.stdout
    verdict = invoke("verdict", STUDY, "--workspace", finished, "--device", "cpu", "--json")
    assert json.loads(verdict.stdout)["verdict"] == json.loads(status.stdout)["verdict"]
    report = invoke("report", STUDY, "--workspace", finished, "--output", finished / "page.html")
    assert report.exit_code == 0, report.output
    assert "<html" in (finished / "page.html").read_text()
    logged = [file.path for file in client(finished).list_artifacts(parent(finished).info.run_id)]
    assert "page.html" in logged
    assert scores(finished) == before
    assert final_scores(finished) == finals


# Interruptions


class InterruptingViews(TerminalViews):
    """Ctrl-C in an epoch of a trial."""

    def __init__(self, number: int, epoch: int) -> None:
        super().__init__()
        self._place = number, epoch

    def observer(self) -> Observer:
        place = self._place

        class Interrupting(Observer):
            def epoch_finished(self, number: int, result: EpochResult) -> None:
                if (number, result.epoch) == place:
                    raise KeyboardInterrupt

        return Interrupting()


def test_ctrl_c_leaves_the_trial_waiting_and_resume_goes_on(root: Path, finished: Path, space: Path) -> None:
    stopped = invoke(*search_args(space, root), views=InterruptingViews(1, 2))
    assert stopped.exit_code == 130
    assert "frostline resume" in stopped.stderr
    assert "Traceback" not in stopped.output
    assert [trial.state for trial in load(root).trials()] == ["complete", "waiting"]
    status = {run.data.tags[KEY]: (run.info.run_id, run.info.status) for run in runs(root)}
    cut_off, how = status["trial-1"]
    assert how == status[f"study-{STUDY}"][1] == "KILLED"
    assert status["trial-0"][1] == "FINISHED"

    described = json.loads(invoke("status", STUDY, "--workspace", root, "--json").stdout)
    assert (described["finished"], described["verdict"]) == (1, None)

    resumed = invoke(*resume_args(root), "--json")
    assert resumed.exit_code == 0, resumed.output
    assert_exact(root)
    assert [run.info.run_id for run in nested(root, "trial") if run.data.tags[KEY] == "trial-1"] == [cut_off]
    assert_undisturbed(root, finished)

    more = invoke(*resume_args(root), "--trials", str(TRIALS + 1), "--json")
    assert more.exit_code == 0, more.output
    assert [trial.state for trial in load(root).trials()] == ["complete"] * (TRIALS + 1)
    assert {number: score for number, score in scores(root).items() if number < TRIALS} == scores(finished)
    assert len(nested(root, "trial")) == TRIALS + 1
    fewer = invoke(*resume_args(root), "--trials", str(TRIALS))
    assert fewer.exit_code == 2
    assert str(TRIALS + 1) in fewer.stderr


@pytest.mark.slow  # As Ctrl-C in a trial, which is quick.
def test_ctrl_c_in_the_finals_leaves_no_verdict_on_half_of_them(root: Path, space: Path) -> None:
    class Views(TerminalViews):
        def observer(self) -> Observer:
            class Interrupting(Observer):
                def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
                    if place == total:
                        raise KeyboardInterrupt

            return Interrupting()

    assert invoke(*search_args(space, root, trials=2), views=Views()).exit_code == 130
    assert len(load(root).final_records()) == STRATEGIES * SEEDS - 1
    assert load(root).results().verdict is None
    before = final_scores(root)
    assert invoke(*resume_args(root), "--json").exit_code == 0
    assert before.items() <= final_scores(root).items()
    assert load(root).results().verdict is not None
    assert_exact(root, trials=2)


def reported(database: Path, number: int) -> int:
    """Epochs that a running trial has reported, read from outside."""
    query = (
        "SELECT count(*) FROM trials JOIN trial_intermediate_values USING (trial_id)"
        " WHERE trials.number = ? AND trials.state = 'RUNNING'"
    )
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1)) as connection:
            return connection.execute(query, (number,)).fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def timed_command(timing: Timing, at_the_end: str = "pass") -> str:
    """The command, in workspaces with a timing of the test's own."""
    return (
        "import dataclasses, sys\n"
        "from frostline.dashboards.cli import main\n"
        "from frostline.storage.timing import Timing\n"
        "from frostline.storage.workspace import Workspace\n"
        "locate = Workspace.locate\n"
        f"Workspace.locate = lambda *given: dataclasses.replace(locate(*given), timing={timing})\n"
        f"try: main()\nfinally: {at_the_end}"
    )


@pytest.mark.slow  # A process. Ctrl-C in a trial, and the same numbers after it, are quick.
def test_a_killed_search_is_finished_by_resume(root: Path, finished: Path, space: Path) -> None:
    each_epoch = Timing(checkpoint=0.0, checkpoint_share=1e9)
    with subprocess.Popen(
        [sys.executable, "-c", timed_command(each_epoch), *search_args(space, root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        # An epoch is kept after it is reported: with three reported, two are kept.
        while reported(root / "studies.db", 1) < 3:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert "trial 1/3" in output
    assert "trial 2/3" not in output
    assert [trial.state for trial in load(root).trials()] == ["complete", "running"]
    assert "records uploaded" in invoke("sync", STUDY, "--workspace", root).stdout
    running = [run.data.tags[KEY] for run in runs(root) if run.info.status == "RUNNING"]
    assert sorted(running) == [f"study-{STUDY}", "trial-1"]
    assert "MLflow is up to date" in invoke("sync", "--workspace", root).stdout

    folder = Workspace(root).checkpoints(STUDY)
    assert [training.name for training in folder.iterdir()] == ["trial-1"]
    killed = time.time() * 1000

    resumed = invoke(*resume_args(root), "--json")
    assert resumed.exit_code == 0, resumed.output
    assert "trial 1 was interrupted and resumes" in resumed.stderr
    told = re.search(r"trial 1 resumed from epoch (\d)", resumed.stderr)
    assert told is not None, resumed.stderr
    assert int(told[1]) >= 2
    (run,) = [run for run in runs(root) if run.data.tags[KEY] == "trial-1"]
    history = client(root).get_metric_history(run.info.run_id, "curves/val_loss")
    assert {metric.step for metric in history if metric.timestamp < killed} >= set(range(int(told[1])))
    assert list(folder.iterdir()) == []
    assert_exact(root)
    assert_undisturbed(root, finished)


@pytest.mark.slow  # Processes; Ctrl-C without a terminal is quick.
def test_ctrl_c_in_a_terminal_lets_mlflow_know_and_mlflow_is_not_imported_where_training_is(
    root: Path, space: Path
) -> None:
    imported = "print('mlflow' in sys.modules, 'optuna' in sys.modules)"
    with subprocess.Popen(
        [sys.executable, "-c", timed_command(Timing(first_report=0.0), imported), *search_args(space, root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while reported(root / "studies.db", 1) < 1:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # As a terminal does: to all processes of the group.
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "frostline resume" in errors
    assert output.splitlines()[-1] == "False True"
    assert {run.data.tags[KEY]: run.info.status for run in runs(root)} == {
        f"study-{STUDY}": "KILLED",
        "trial-0": "FINISHED",
        "trial-1": "KILLED",
    }
    assert "MLflow is up to date" in invoke("sync", "--workspace", root).stdout


@contextmanager
def held_elsewhere(root: Path) -> Iterator[None]:
    """Another process works on the study."""
    script = (
        "import sys; from pathlib import Path; from frostline.storage.locks import exclusive\n"
        "from frostline.storage.workspace import Workspace\n"
        "with exclusive(Workspace(Path(sys.argv[1])), sys.argv[2]): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root), STUDY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("")


def test_a_second_process_on_a_study_is_turned_away(finished: Path, space: Path) -> None:
    before = scores(finished)
    with held_elsewhere(finished):
        for args in (search_args(space, finished), [*resume_args(finished), "--trials", "9"]):
            refused = invoke(*args)
            assert refused.exit_code == 1, refused.output
            assert "Another process" in refused.stderr
            assert f"frostline status {STUDY}" in refused.stderr
        # A reader of a complete study is not refused.
        assert invoke("status", STUDY, "--workspace", finished).exit_code == 0
        read = invoke("verdict", STUDY, "--device", "cpu", "--workspace", finished)
        assert read.exit_code == 0
        assert re.search(" (wins:|leads with) ", " ".join(read.stdout.split()))
        assert "another process" in invoke("sync", STUDY, "--workspace", finished).stdout
    assert load(finished).settings.trials == TRIALS
    assert scores(finished) == before
    assert {run.info.status for run in runs(finished)} == {"FINISHED"}


# What is refused (more in test_planning.py)


def test_a_study_of_other_settings_says_what_differs_and_how_to_resume(finished: Path, space: Path) -> None:
    files = sorted(finished.rglob("*"))
    changed = search_args(space, finished, trials=5)
    result = invoke(*changed, "--seed", "4")
    assert result.exit_code == 2
    for part in ("trials: 3 there, 5 here", "seed: 0 there, 4 here", f"frostline resume {STUDY}", "--name"):
        assert part in result.stderr
    assert "backbone:" not in result.stderr
    assert sorted(finished.rglob("*")) == files
    assert load(finished).settings.trials == TRIALS


@pytest.mark.parametrize("command", ["resume", "verdict", "status", "report", "sync"])
def test_an_unknown_study_names_the_nearest(finished: Path, command: str) -> None:
    result = invoke(command, "tinny", "--workspace", finished)
    assert result.exit_code == 2
    assert "'tinny'" in result.stderr
    assert "Did you mean 'tiny'?" in result.stderr


@pytest.mark.parametrize("command", ["resume", "verdict", "status", "report", "ui", "sync"])
def test_a_study_of_an_empty_workspace_makes_nothing(tmp_path: Path, command: str) -> None:
    result = invoke(command, "tiny", "--workspace", tmp_path / "none")
    assert result.exit_code == 2
    assert "frostline search" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_status_of_an_empty_workspace_says_how_to_begin(tmp_path: Path) -> None:
    result = invoke("status", "--workspace", tmp_path / "none")
    assert result.exit_code == 0
    assert "frostline search" in result.stdout
    assert invoke("status", "--workspace", tmp_path / "none", "--json").stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_help_of_every_command_is_there_without_torch() -> None:
    script = """
import sys
from typer.testing import CliRunner
from frostline.dashboards.cli import app
commands = [command.name or command.callback.__name__ for command in app.registered_commands]
for args in ([], *([name] for name in commands)):
    result = CliRunner().invoke(app, [*args, "--help"], prog_name="frostline")
    assert result.exit_code == 0, result.output
    assert "Usage: frostline" in result.output, result.output
heavy = {"torch", "torchvision", "optuna", "mlflow", "sqlalchemy", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
print(*sorted(commands))
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    expected = {"search", "resume", "status", "verdict", "report", "ui", "backbones", "space", "demo", "sync"}
    assert expected <= set(shown.stdout.split())


def test_help_names_every_metric_that_can_be_searched_for() -> None:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    (option,) = [parameter for parameter in command.commands["search"].params if parameter.name == "metric"]
    assert isinstance(option, typer.core.TyperOption)
    assert all(name in (option.help or "") for name in OBJECTIVES)


def test_backbones_and_space_can_be_listed() -> None:
    names = [info["name"] for info in json.loads(invoke("backbones", "--json").stdout)]
    assert len(names) >= 80
    assert "shufflenet_v2_x0_5" in names
    units = json.loads(invoke("backbones", "shufflenet_v2_x0_5", "--image-size", "32", "--json").stdout)
    assert len(units) > 3
    unknown = invoke("backbones", "resnet81")
    assert unknown.exit_code == 2
    assert "Did you mean 'resnet18'?" in unknown.stderr
    written = invoke("space", "--strategy", "full", "--strategy", "scratch")
    assert written.exit_code == 0
    assert "[full]" in written.stdout
    assert "[partial]" not in written.stdout


FURTHER = (
    "linear_probe_exact",
    "gradual_unfreezing",
    "discriminative",
    "surgical",
    "auto_rgn",
    "norm_bias",
    "lora",
    "l2_sp",
)


@pytest.mark.slow  # Each of them is trained by a quick test of its own.
def test_the_further_strategies_run_to_a_verdict(tmp_path: Path) -> None:
    named = [word for name in FURTHER for word in ("--strategy", name)]
    tables = invoke("space", DATA, *named, "--workspace", tmp_path / "ws").stdout
    file = tmp_path / "space.toml"
    file.write_text(re.sub(r"(?m)^epochs += \d+$", "epochs = 2", tables))
    arguments = search_args(file, tmp_path / "ws", trials=len(FURTHER))
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    assert {name: counts["complete"] for name, counts in described["strategies"].items()} == dict.fromkeys(FURTHER, 1)
    assert len(described["verdict"]["contenders"]) == len(FURTHER)
