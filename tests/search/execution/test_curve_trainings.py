"""The trainings of a data-size curve: each done once, interrupted or not, logged once, and shown."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.errors import InvalidInputError
from frostline.search.doctor.doctor import check_study
from frostline.search.execution import logged_training
from frostline.search.execution.curve_trainings import choose_sizes, run_curve, with_equal_steps
from frostline.search.execution.run import SearchInterrupted, run_search
from frostline.search.slots.resources import Resources
from frostline.search.study import fingerprints
from frostline.search.study.facts import StudyFacts
from frostline.search.study.observer import Observer
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.search.tracking.training_runs import SCORE_CURVE
from frostline.storage.database.control import STOP
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

pytestmark = pytest.mark.usefixtures("mlflow_records")

SPACE = """
[shared]
epochs = 2
batch_size = 16
augmentation = "none"

[feature_extraction]

[full]
learning_rate = 3e-3
"""
CPU = Resources("cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a study with its verdict and no curve; tests work on copies."""
    root = tmp_path_factory.mktemp("finished")
    space = root / "space.toml"
    space.write_text(SPACE)
    values: dict[str, Any] = {"backbone": "tiny_network:create", "weights": "none", "image_size": 32, "space": space}
    values |= {"name": "tiny", "trials": 2, "finals_seeds": 2, "device": "cpu"}
    data = shutil.copytree(few_digits(), root / "digits")
    # A fault of the data, for what is said of one.
    first = min((data / "train" / "0").iterdir())
    shutil.copy(first, first.with_name("copy.png"))
    run_search(Request(data=str(data), **values), Workspace(root))
    return root


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(finished, tmp_path / "copy")
    return Workspace(tmp_path / "copy")


def numbers(study: Study) -> dict[tuple[str, int, int], list[list[float]]]:
    """Probabilities of every training, to the last bit."""
    return {(each.finalist, each.images, each.seed): each.probabilities.tolist() for each in study.curve.all()}


def test_it_is_not_trained_by_other_code_than_the_finals(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "version", lambda name: "1.0")
    with pytest.raises(InvalidInputError, match=r"torch: \S+ then, 1\.0 now"):
        run_curve("tiny", place, sizes=["12"], seeds=1, resources=CPU)


def assert_documented(described: dict[str, Any]) -> None:
    """docs/json.md names every value of ``--json``, and none that is not there."""
    page = (Path(__file__).parents[3] / "docs" / "json.md").read_text()
    # What `frostline predict` prints is tested with it.
    page = page.partition("## `predict`")[0]
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", page))))
    values = set(names_in(described))
    assert values <= told
    assert {name for name in told if name.islower() and name.isidentifier()} - values <= {
        # Of a study with pretrained weights; see test_neighbors.py.
        *("advice", "outcome", "images_per_class", "domain", "probe_gap", "probe_pretrained", "probe_random"),
        *("size", "separation", "tie", "behind", "absent", "lp_ft"),
        *("small", "medium", "large", "far", "middling", "near"),
        # Of images that were left out, or have more than 8 bits.
        *("reason", "integers", "floats"),
        # Of a curve with four sizes.
        "gain",
        # Of the diagnosis by `frostline truncate`; see test_truncation.py.
        *("joint_interval", "by_validation", "smaller", "confirmed", "device", "batch", "cuts", "units", "last_unit"),
        *("latency", "batch_latency", "parameters", "size_mb", "truncate"),
        # Of a study with a budget; see test_device_time.py.
        *("used", "left", "predicted_trials_left"),
        # Of a search that ended early; see test_early_end.py.
        *("stop", "when", "sure", "ended", "chance", "chances"),
        # Of data with groups, of folds, of images with other than three channels.
        *("group", "folds", "fold", "channels"),
        # Of data with faults.
        *("share", "scores_without", "suggested", "probability", "label_probability"),
        *("json", "search", "resume", "status", "low", "high", "null", "frostline"),
    }


def names_in(described: Any) -> Iterator[str]:
    """Names of the values in a description, without those that users or metrics gave."""
    for each in described if isinstance(described, list) else []:
        yield from names_in(each)
    for name, value in described.items() if isinstance(described, dict) else ():
        yield name
        if name in ("strategies", "crossovers", "projections"):
            yield from names_in(list(value.values()))
        elif name not in ("settings", "config", "metrics", "calibrated_metrics", "counts", "not_sought"):
            yield from names_in(value)


def runs(place: Workspace) -> list[Run]:
    client = MlflowClient(tracking_uri=place.tracking_url)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


class Interrupting(Observer):
    """Ctrl-C after the first training."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)
        if "test" in message:
            raise KeyboardInterrupt


def test_a_curve_is_trained_once_and_goes_on_where_it_was_interrupted(
    place: Workspace, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SearchInterrupted, match="resume with the same command: frostline curve tiny --workspace"):
        run_curve("tiny", place, Interrupting(), sizes=["12", "1/2"], seeds=1, resources=CPU)
    assert len(numbers(Study.load("tiny", place))) == 1
    # What it goes on from is nobody's mistake; and a stop that came too late does not hold it up.
    (place.checkpoints("tiny") / "curve-full-1-12-1000").mkdir(parents=True)
    assert check_study(Study.load("tiny", place)).problems == []
    Study.load("tiny", place).wish.set(STOP)
    study = run_curve("tiny", place, sizes=["12", "1/2"], seeds=1, resources=CPU)
    ended, before = numbers(study), study.results()
    images = study.facts.counts["train"]
    strategies = {"feature_extraction", "full"}
    assert {(name.rpartition("-")[0], size, seed) for name, size, seed in ended} == {
        (name, size, 1000) for name in strategies for size in (12, round(images / 2))
    }
    assert len({json.dumps(probabilities) for probabilities in ended.values()}) == len(ended)
    curve = before.curve
    assert curve is not None
    assert curve.sizes == [12, round(images / 2), images]
    finals = {final.strategy: [] for final in before.finals}
    for final in before.finals:
        finals[final.strategy].append(final.test_score)
    for strategy, scores in finals.items():
        assert sorted(curve.of(strategy)[-1].scores) == sorted(scores), "with all images it is the finals"

    # An undisturbed one gives the same numbers.
    shutil.copytree(finished, tmp_path / "undisturbed")
    other = run_curve("tiny", Workspace(tmp_path / "undisturbed"), sizes=["1/2", "12"], seeds=1, resources=CPU)
    assert numbers(other) == ended

    # One MLflow run each, nested below the finals' strategy; the rest is as it was.
    found = [run for run in runs(place) if run.data.tags.get("kind") == "curve"]
    by_id = {run.info.run_id: run for run in runs(place)}
    assert len(found) == len(ended) == 4
    assert {run.info.status for run in runs(place)} == {"FINISHED"}
    for run in found:
        above = by_id[run.data.tags["mlflow.parentRunId"]]
        assert (above.data.tags["kind"], above.data.tags["strategy"]) == ("strategy", run.data.tags["strategy"])
        known = (f"{run.data.tags['strategy']}-{run.data.params['trial']}", int(run.data.params["train_images"]))
        assert (*known, int(run.data.params["seed"])) in ended
        # Two epochs of all images, in epochs of fewer.
        assert int(run.data.params["epochs"]) == round(2 * images / known[1])
        curve = MlflowClient(tracking_uri=place.tracking_url).get_metric_history(run.info.run_id, SCORE_CURVE)
        assert len(curve) == round(2 * images / known[1])
    assert len([run for run in by_id.values() if run.data.tags.get("kind") == "final"]) == 4

    # Nothing is left to do, so nothing is trained.
    monkeypatch.setattr(logged_training, "finetune", lambda *_, **__: pytest.fail("trained again"))
    assert numbers(run_curve("tiny", place, sizes=["12", "1/2", "1.0"], seeds=1, resources=CPU)) == ended


def invoke(place: Workspace, *arguments: str) -> Any:
    command = [*arguments, "--device", "cpu", "--workspace", str(place.root)]
    return CliRunner().invoke(app, command, obj=TerminalViews(), prog_name="frostline")


def test_the_command_prints_the_curve_and_the_report_shows_it(place: Workspace) -> None:
    report = place.report("tiny")
    assert "data-curve" not in report.read_text() if report.exists() else True
    result = invoke(place, "curve", "tiny", "--sizes", "12")
    assert result.exit_code == 0, result.output
    assert "curve 1/4: feature_extraction on 12 images, seed 1000" in result.stdout
    rows = [
        line.split()[:2] for line in result.stdout.splitlines() if line.startswith(("full ", "feature_extraction "))
    ]
    images = str(Study.load("tiny", place).facts.counts["train"])
    expected = [["feature_extraction", "12"], ["feature_extraction", images], ["full", "12"], ["full", images]]
    assert [row for row in rows if row[1] in ("12", images)] == expected
    assert " of feature_extraction" in result.stdout
    assert 'id="data-curve-title"' in report.read_text()
    described = json.loads(invoke(place, "curve", "tiny", "--sizes", "12", "--json").stdout)
    assert_documented(described)
    assert [point["images"] for point in described["curve"]["points"]] == [12, int(images)] * 2
    assert set(described["curve"]["crossovers"]) == {"full"}


def test_what_cannot_be_is_refused_with_what_to_type(place: Workspace, tmp_path: Path) -> None:
    result = invoke(place, "curve", "tiny", "--sizes", "2,x,1000,3/2", "--seeds", "0")
    assert result.exit_code == 2
    for text in (
        "below one image for each of the 3 classes. Give --sizes 3",
        "'x' is not a size",
        "1,000 images are more than the",
        "--seeds",
    ):
        assert text in result.stderr
    assert invoke(place, "curve", "tinny").exit_code == 2
    settings = Study.load("tiny", place).settings
    facts = Study.load("tiny", place).facts
    empty = Workspace(tmp_path / "empty")
    Study.create(settings, facts, empty, None)
    refused = invoke(empty, "curve", "tiny")
    assert refused.exit_code == 2
    assert "No trial of study 'tiny' is complete. Resume it: frostline resume tiny --workspace" in refused.stderr


def test_few_images_are_trained_on_for_as_many_steps() -> None:
    found = {"strategy": "lp_ft", "epochs": 10, "probe_epochs": 4, "patience": 3, "batch_size": 16}
    assert with_equal_steps(found, 100, 400) == {**found, "epochs": 40, "probe_epochs": 16, "patience": 12}
    assert with_equal_steps(found, 400, 400) == found
    # As many epochs as a training may have, and the phases keep their shares.
    assert with_equal_steps(found, 7, 7000) == {**found, "epochs": 1000, "probe_epochs": 400, "patience": 300}
    assert with_equal_steps({"strategy": "linear_probe_exact"}, 100, 400) == {"strategy": "linear_probe_exact"}


def facts_of(train: int, classes: int) -> StudyFacts:
    return StudyFacts(tuple(map(str, range(classes))), {"train": train}, "", (), ("stem",), (0.0, 1.0))


def test_sizes_are_images_or_shares_of_them() -> None:
    facts = facts_of(train=200, classes=10)
    assert choose_sizes([], facts) == [25, 50, 100]
    assert choose_sizes(["0.5", "1/4", "150", "50", "200", "1/1"], facts) == [50, 100, 150]
    assert choose_sizes([], facts_of(train=48, classes=10)) == [12, 24]
    with pytest.raises(InvalidInputError, match=r"No size is left between 10 images, .* and all 15"):
        choose_sizes([], facts_of(train=15, classes=10))
    with pytest.raises(InvalidInputError, match="1/0' is not a size"):
        choose_sizes(["1/0"], facts)
