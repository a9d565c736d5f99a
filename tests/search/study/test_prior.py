"""Priors: what a study takes over from earlier ones, computed by hand; whole searches that start from one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.search.api.searches import run_search as run_from_python
from frostline.search.execution import resume, run_search
from frostline.search.execution.run import SearchInterrupted
from frostline.search.records import TrialRecord
from frostline.search.space import Space, create_space
from frostline.search.study import Observer, Request, Study, portfolio_of
from frostline.search.study.portfolio import Best, Description, PastStudy, Portfolio
from frostline.search.study.prior import choose_starts
from frostline.search.study.starts import Start, starts_sentence
from frostline.storage.workspace import Workspace

RATES = {"low": 1e-6, "high": 1e-1, "log": True, "default": 1e-6}


def space(**more: Any) -> Space:
    return create_space(
        {
            "full": {"epochs": 4, "learning_rate": RATES, "batch_size": {"choices": [16, 32]}, **more},
            "partial": {"epochs": 4, "learning_rate": RATES, "freeze_depth": {"low": 1, "high": 9, "default": 4}},
        }
    )


def description(**changed: Any) -> Description:
    values: dict[str, Any] = {"images": 1000, "classes": 10, "image_size": 64, "metric": "accuracy", "units": 10}
    return Description(**{**values, "backbone": "resnet18", "pretrained": True, **changed})


def past(name: str, best: dict[str, dict[str, Any]], **changed: Any) -> PastStudy:
    found = {strategy: Best(values=values, score=0.5, seeds=1) for strategy, values in best.items()}
    return PastStudy(name=name, description=description(**changed), best=found)


def taken(
    studies: list[PastStudy], searched: Space | None = None, **here: Any
) -> tuple[list[tuple[str, str]], dict[str, Any], list[str]]:
    """Strategies and studies of the starts, the values of the first one, and what was left out."""
    starts, notes = choose_starts(Portfolio(studies=tuple(studies)), description(**here), searched or space())
    return [(each.strategy, each.study) for each in starts], starts[0].values if starts else {}, notes


RATE = {"learning_rate": 0.01, "batch_size": 32}


def test_the_nearest_two_studies_come_first() -> None:
    rates = (0.01, 0.02, 0.03, 0.04)
    # Distances: 1 and 0.5 decades of images, 0.3 of classes, another network.
    far, near, nearest, other = (
        past(name, {"full": {"learning_rate": rate}}, **changed)
        for name, rate, changed in zip(
            ("far", "near", "nearest", "other"),
            rates,
            ({"images": 100}, {"images": 316}, {"classes": 20}, {"backbone": "resnet50"}),
            strict=True,
        )
    )
    assert taken([far, near, nearest, other])[0] == [("full", "nearest"), ("full", "near")]
    assert taken([other, far])[0] == [("full", "other"), ("full", "far")]
    # Of equally near ones, the first.
    assert taken([far, other])[0] == [("full", "far"), ("full", "other")]


def test_studies_of_another_metric_or_image_size_or_the_same_images_are_named_and_ignored() -> None:
    studies = [
        past("scored", {"full": RATE}, metric="auroc"),
        past("small", {"full": RATE}, image_size=32),
        past("same", {"full": RATE}, data=("ab", "cd")),
        past("good", {"full": RATE}, data=("ef",)),
    ]
    names, values, notes = taken(studies, data=("cd", "99"))
    assert (names, values) == ([("full", "good")], RATE)
    assert [note.split(":")[1].strip() for note in notes] == [
        f"left out {name!r}" for name in ("scored", "small", "same")
    ]
    assert "auroc, here it is accuracy" in notes[0]
    assert "32, here it is 64" in notes[1]


def test_only_searched_values_of_searched_strategies_are_taken() -> None:
    values = {**RATE, "epochs": 40, "weight_decay": 0.1}
    names, first, notes = taken([past("one", {"full": values, "scratch": values, "my_strategy": values})])
    assert (names, first, notes) == ([("full", "one")], RATE, [])


def test_what_another_study_did_not_search_is_the_default() -> None:
    assert taken([past("one", {"full": {"learning_rate": 0.01}})])[1] == {"learning_rate": 0.01, "batch_size": 16}


def test_the_default_and_equal_configurations_are_not_taken_again() -> None:
    default = {"learning_rate": 1e-6, "batch_size": 16}
    studies = [past("zero", {"full": default}), *(past(name, {"full": RATE}) for name in ("one", "two"))]
    assert taken(studies)[0] == [("full", "one")]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.5, "learning_rate"),
        (True, "learning_rate"),
        ("fast", "learning_rate"),
        (10**11, "learning_rate"),
        (64, "batch_size"),
        ("32; import os", "batch_size"),
    ],
)
def test_a_value_outside_of_the_space_leaves_its_configuration_out_by_name(value: Any, name: str) -> None:
    studies = [past("odd", {"full": {**RATE, name: value}}), past("good", {"full": RATE})]
    names, _, notes = taken(studies)
    assert names == [("full", "good")]
    assert notes == [f"prior: left out full of 'odd': {name} {value} is not in this study's space"]


def test_inactive_parameters_are_not_taken() -> None:
    momentum = {"choices": [0.5, 0.9], "when": {"batch_size": [16]}}
    searched = space(**{"head": {"dropout": momentum}})
    for size, expected in ((16, {"head.dropout": 0.9}), (32, {})):
        values = {"learning_rate": 0.01, "batch_size": size, "head.dropout": 0.9}
        assert taken([past("one", {"full": values})], searched)[1] == {
            "learning_rate": 0.01,
            "batch_size": size,
            **expected,
        }


@pytest.mark.parametrize(("depth", "expected"), [(2, 1), (10, 5), (18, 9), (5, 2)])
def test_freeze_depths_are_shares_of_the_units(depth: int, expected: int) -> None:
    values = {"learning_rate": 0.01, "freeze_depth": depth}
    assert taken([past("deep", {"partial": values}, units=20)])[1]["freeze_depth"] == expected


def test_a_depth_that_leaves_nothing_to_train_is_left_out() -> None:
    values = {"learning_rate": 0.01, "freeze_depth": 20}
    names, _, notes = taken([past("deep", {"partial": values}, units=20)])
    assert (names, len(notes)) == ([], 1)
    assert "freeze_depth 10" in notes[0]


def test_probe_epochs_are_shares_of_the_epochs() -> None:
    table = {"epochs": 10, "probe_epochs": {"low": 1, "high": 8, "default": 2}, "freeze_depth": 0}
    searched = create_space({"lp_ft": {**table, "learning_rate": RATES, "probe_learning_rate": 1e-3}})
    values = {"epochs": 40, "probe_epochs": 20, "learning_rate": 0.01}
    assert taken([past("long", {"lp_ft": values})], searched)[1] == {"probe_epochs": 5, "learning_rate": 0.01}


def test_a_head_that_saw_all_that_it_could_sees_as_many_as_it_was_asked_to() -> None:
    depths = {"choices": [1, 4, 8], "default": 1}
    searched = create_space({"full": {"epochs": 4, "head.depths": depths}})
    for seen, asked in ((7, 8), (4, 4), (2, 4)):
        assert taken([past("short", {"full": {"head.depths": seen}})], searched)[1] == {"head.depths": asked}


def test_long_lists_are_cut() -> None:
    assert len(taken([past(f"s{number}", {"full": RATE}, metric="auroc") for number in range(100)])[2]) == 6
    starts = [Start(strategy="full", study=f"s{number}", score=0.5, values={}) for number in range(7)]
    assert starts_sentence(starts).endswith("7 earlier studies: s0, s1, s2, s3, s4 and 2 more.")
    assert starts_sentence([]) == ""


FULL = {"epochs": 2, "learning_rate": RATES, "batch_size": {"choices": [16, 32]}}
TABLES = {"full": FULL, "scratch": {"epochs": 2, "learning_rate": RATES}}


def request(data: str, name: str, **more: Any) -> Request:
    values: dict[str, Any] = {"backbone": "tiny_network:create", "weights": "none", "image_size": 32, "device": "cpu"}
    values |= {"trials": 6, "finals_seeds": 1, "candidates": 2, "space": TABLES, "audit": False}
    return Request(**{**values, "data": data, "name": name, **more})


ONE, TWO = "sklearn:digits[0-2]@60", "sklearn:digits[3-6]@80"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a finished study, and one that has no trial."""
    place = Workspace(tmp_path_factory.mktemp("workspace"))
    study = run_search(request(ONE, "one"), place)
    Study.create(study.settings.model_copy(update={"name": "begun"}), study.facts, place, None).close()
    study.close()
    return place


def searched(trial: TrialRecord) -> dict[str, Any]:
    return {name: trial.config[name] for name in ("learning_rate", "batch_size") if name in TABLES[str(trial.strategy)]}


def of_strategy(study: Study, strategy: str) -> list[dict[str, Any]]:
    return [searched(trial) for trial in study.trials() if trial.strategy == strategy]


class Notes(Observer):
    def __init__(self, stop_after: int | None = None) -> None:
        self.said: list[str] = []
        self._left = stop_after

    def note(self, message: str) -> None:
        self.said.append(message)

    def trial_finished(self, trial: TrialRecord) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


def test_a_portfolio_has_the_finalists_of_finished_studies(place: Workspace) -> None:
    (found,) = portfolio_of(place).studies
    results = Study.load("one", place).results()
    assert (found.name, found.description.images) == ("one", results.facts.counts["train"])
    assert (found.description.classes, found.description.pretrained, found.description.units) == (3, False, 7)
    assert found.best.keys() == results.finalists.keys() == {"full", "scratch"}
    for strategy, trial in results.finalists.items():
        best = found.best[strategy]
        assert best.values.items() >= searched(trial).items()
        assert best.values["epochs"] == 2
        (final,) = [each for each in results.finals if each.strategy == strategy]
        assert (best.score, best.seeds) == (final.val_score, 1)


def test_a_search_starts_from_the_workspace_and_says_so(place: Workspace) -> None:
    notes = Notes()
    study = run_search(request(TWO, "two", prior="workspace"), place, notes)
    results = study.results()
    sentence = "Started from the best configurations of 1 earlier study: one."
    assert sentence in notes.said
    assert sentence in results.warnings
    earlier = Study.load("one", place).results().finalists
    for strategy in ("full", "scratch"):
        default, second, *_ = of_strategy(study, strategy)
        assert default["learning_rate"] == 1e-6
        if searched(earlier[strategy]) != default:
            assert second == searched(earlier[strategy])
    # The finalist of a strategy whose default cannot learn is another one: something was taken over.
    assert study.settings.starts
    # The same command resumes, although there is another finished study now.
    assert run_search(request(TWO, "two", prior="workspace"), place).settings == study.settings


def test_without_a_prior_nothing_is_taken(place: Workspace) -> None:
    for prior in (None, "none"):
        assert run_search(request(TWO, "three", prior=prior), place).settings.starts == ()


def test_a_study_of_the_same_folder_gives_nothing(place: Workspace) -> None:
    notes = Notes()
    study = run_search(request(ONE, "again", prior="workspace", trials=2, seed=1), place, notes)
    assert "'one'" not in {each.study for each in study.settings.starts}
    assert any("left out 'one': its images are the same" in said for said in notes.said)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), obj=TerminalViews(), prog_name="frostline")


@pytest.mark.slow  # What a portfolio has, and a search from a file, are quick.
def test_a_portfolio_is_carried_to_another_workspace(place: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    written = invoke("portfolio", str(file), "--workspace", str(place.root))
    assert written.exit_code == 0, written.output
    assert "one" in written.output
    # No path of this machine is in it.
    assert str(place.root) not in file.read_text()
    study = run_from_python(
        TWO,
        backbone="tiny_network:create",
        space=TABLES,
        trials=4,
        workspace=tmp_path / "other",
        observer=Observer(),
        **{"weights": "none", "image_size": 32, "device": "cpu", "finals_seeds": 1, "audit": False, "prior": str(file)},
    )
    stored = Study.load(study.name, Workspace(tmp_path / "other"))
    assert stored.settings.prior == str(file.resolve())
    for start in stored.settings.starts:
        assert start.values in of_strategy(stored, start.strategy)


def own_portfolio(path: Path) -> Path:
    """Two studies of other digits, as a program of another language may write them."""
    studies = [
        {
            "name": name,
            "description": {
                **{"images": 50, "classes": 3, "image_size": 32, "metric": "accuracy", "units": 3},
                **{"backbone": "tiny_network:create", "pretrained": False},
            },
            "best": {
                strategy: {"values": {"learning_rate": rate, "batch_size": 32}, "score": 0.5, "seeds": 1}
                for strategy in ("full", "scratch")
            },
        }
        for name, rate in (("a", 0.01), ("b", 0.02))
    ]
    path.write_text(json.dumps({"format": "frostline portfolio", "version": 1, "studies": studies}))
    return path


def expected(strategy: str) -> list[dict[str, Any]]:
    more = {"batch_size": 32} if strategy == "full" else {}
    return [{"learning_rate": rate, **more} for rate in (0.01, 0.02)]


def test_a_study_that_was_killed_goes_on_with_what_it_recorded(tmp_path: Path) -> None:
    place, file = Workspace(tmp_path), own_portfolio(tmp_path / "p.json")
    with pytest.raises(SearchInterrupted):
        run_search(request(TWO, "cut", prior=str(file), trials=10), place, Notes(stop_after=3))
    file.unlink()
    study = resume("cut", place, Observer())
    for strategy in ("full", "scratch"):
        assert of_strategy(study, strategy)[1:3] == expected(strategy)


@pytest.mark.slow  # Going on after the portfolio is gone is quick.
def test_a_study_goes_on_after_the_earlier_one_was_deleted(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    run_search(request(ONE, "one"), place).close()
    with pytest.raises(SearchInterrupted):
        run_search(request(TWO, "cut", prior="workspace"), place, Notes(stop_after=1))
    optuna.delete_study(study_name="one", storage=place.studies_url)
    study = run_search(request(TWO, "cut", prior="workspace"), place)
    assert study.settings.starts
    for start in study.settings.starts:
        assert start.values in of_strategy(study, start.strategy)


@pytest.mark.slow  # Three workers. That each start is tried, and once, is quick with one.
def test_workers_share_the_starts(tmp_path: Path, thread_engine: str) -> None:
    file = own_portfolio(tmp_path / "p.json")
    study = run_search(
        request(TWO, "shared", prior=str(file), trials=10, workers=3, engine=thread_engine), Workspace(tmp_path)
    )
    for strategy in ("full", "scratch"):
        own = of_strategy(study, strategy)
        assert all(own.count(values) == 1 for values in expected(strategy))


def test_a_dry_run_shows_what_a_search_takes(place: Workspace, tmp_path: Path) -> None:
    file = own_portfolio(tmp_path / "p.json")
    (tmp_path / "s.toml").write_text(
        '[study]\ndata = "sklearn:digits[3-6]@80"\nbackbone = "tiny_network:create"\nweights = "none"\n'
        'image_size = 32\nprior = "p.json"\n[full]\nepochs = 2\nbatch_size = {choices = [16, 32]}\n'
        "learning_rate = {low = 1e-6, high = 1e-1, log = true, default = 1e-6}\n"
    )
    arguments = ("search", str(tmp_path / "s.toml"), "--dry-run", "--workspace", str(tmp_path / "w"))
    shown = invoke(*arguments)
    assert shown.exit_code == 0, shown.output
    assert str(file) in shown.output
    assert "full from a, 50.0 % there: batch_size 32, learning_rate 0.01" in shown.output
    plain = json.loads(invoke(*arguments, "--json").stdout)
    assert [(each["study"], each["values"]) for each in plain["settings"]["starts"]] == [
        (name, values) for name, values in zip("ab", expected("full"), strict=True)
    ]
    assert json.loads(invoke(*arguments, "--json", "--prior", "none").stdout)["settings"]["starts"] == []


def test_an_empty_workspace_starts_nothing_and_says_so(tmp_path: Path) -> None:
    notes = Notes()
    study = run_search(request(TWO, "first", prior="workspace", trials=2), Workspace(tmp_path), notes)
    assert study.settings.starts == ()
    assert "prior: nothing to start from among 0 finished studies" in notes.said
    refused = invoke("portfolio", str(tmp_path / "p.json"), "--workspace", str(tmp_path / "none"))
    assert refused.exit_code == 2
    assert "frostline search DATA" in refused.output
    assert not (tmp_path / "p.json").exists()
