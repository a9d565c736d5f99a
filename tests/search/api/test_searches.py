"""Searches from Python: settings as keywords and objects, one public error, and the command line's study."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from frostline.objectives.data import ListingOptions
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.strategies import STRATEGIES, Strategy, get_strategy, head_phase
from frostline.search import Domain, FrostlineError, resume, run_search
from frostline.search.api.objects import name_backbone, name_strategies
from frostline.search.study.observer import Observer
from frostline.search.study.request import Request

tiny_network: Any = importlib.import_module("tiny_network")
SMALL: dict[str, Any] = {
    "backbone": tiny_network.create,
    "weights": "none",
    "image_size": 32,
    "finals_seeds": 1,
    "device": "cpu",
    "audit": False,
    "name": "tiny",
}
SPACE = {"feature_extraction": {"epochs": 2, "learning_rate": Domain(low=1e-3, high=1e-2, log=True, default=2e-3)}}


class Counting(Observer):
    """Counts the trials that start."""

    started = 0

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        self.started += 1


def test_the_same_call_resumes_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    seen, given = Counting(), {**SMALL, "space": SPACE, "workspace": tmp_path}
    first = run_search("sklearn:digits[0-2]@60", trials=2, observer=seen, **given)
    assert (seen.started, first.state) == (2, "finished")
    assert first.trials["params_learning_rate"].iloc[0] == 2e-3
    assert first.trials["params_learning_rate"].between(1e-3, 1e-2).all()
    assert first.settings["backbone"] == "tiny_network:create"
    again = run_search("sklearn:digits[0-2]@60", trials=2, observer=seen, **given)
    assert (seen.started, again.verdict) == (2, first.verdict)
    more = resume("tiny", trials=3, workspace=tmp_path, observer=seen, device="cpu")
    assert (seen.started, len(more.trials)) == (3, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trails": 3}, "Unknown setting 'trails'. Did you mean 'trials'?"),
        ({"trials": "3"}, "trials: Input should be a valid integer, got '3'"),
        ({"budget": "0m"}, "--budget must be more than 0 seconds, got 0m."),
        ({"budget": 20}, "budget: Input should be a valid string, got 20"),
        ({"group": 3}, "group: Input should be a valid string, got 3"),
        ({"seed": 1.5}, "seed: Input should be a valid integer, got 1.5"),
        ({"backbone": "resnet81"}, "Unknown backbone 'resnet81'"),
        ({"strategies": ["fulll"]}, "Unknown strategy 'fulll'. Did you mean 'full'?"),
        ({"strategies": [3]}, "strategies has a int: give names or Strategy objects."),
        ({"trials": 1, "strategies": ("full", "scratch")}, "--trials 1 is too few for 2 strategies"),
        ({"metric": "acuracy"}, "Unknown metric 'acuracy'. Did you mean 'accuracy'?"),
        ({"space": {"full": {"lr": 1}}}, "[full] Unknown parameter 'lr'"),
        ({"backbone": tiny_network.create(3)}, "backbone is a TinyNetwork. Give a name, or the function that makes"),
        ({"backbone": lambda: tiny_network.create(3)}, "is not a function at the top of module"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_one_error_and_nothing_is_made(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    settings = {"backbone": "tiny_network:create", "weights": "none", "image_size": 32, **given}
    with pytest.raises(FrostlineError) as raised:
        run_search("sklearn:digits[0-2]@60", workspace=tmp_path / "ws", **settings)
    assert said in str(raised.value)
    assert raised.value.wrong_input
    assert list(tmp_path.iterdir()) == []


def test_all_mistakes_are_said_together(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError) as raised:
        run_search(tmp_path / "nowhere", metric="acuracy", trials=0, workspace=tmp_path / "ws")
    assert len(raised.value.faults) == 3


def test_a_study_file_gives_what_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[study]\ndata = "photos"\nbackbone = "resnet18"\ntrials = 7\n')
    request = Request.create(str(file), trials=9)
    assert (request.backbone, request.trials, request.data) == ("resnet18", 9, str(tmp_path / "photos"))
    grouped = Request.create("photos.csv", group="patient", label_column="species")
    assert grouped.listing == ListingOptions(group="patient", label_column="species")
    assert Request.create(str(file), group="patient").listing.group == "patient"
    with pytest.raises(InvalidInputError, match="is not a study file: leave out one of them"):
        Request.create("photos", data="others")


def test_objects_stand_for_their_importable_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert name_backbone(tiny_network.create) == "tiny_network:create"
    assert name_strategies(["full", get_strategy("lp_ft")]) == (("full", "lp_ft"), ())
    assert name_strategies("full") == (("full",), ())
    (tmp_path / "own_strategies.py").write_text(
        "from frostline.objectives.strategies import Strategy, head_phase, register_strategy\n"
        "def plan(config, units):\n    return (head_phase('head', units, 1, config.learning_rate),)\n"
        "SHORT = Strategy('short_probe', 'one epoch', plan, refuses=frozenset({'epochs'}))\n"
        "register_strategy(SHORT)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = STRATEGIES.snapshot()
    try:
        import own_strategies  # pyright: ignore[reportMissingImports]

        assert name_strategies([own_strategies.SHORT]) == (("short_probe",), ("own_strategies",))
        space = {"short_probe": {"learning_rate": 0.01}}
        given = {**SMALL, "space": space, "strategies": [own_strategies.SHORT], "workspace": tmp_path / "ws"}
        study = run_search("sklearn:digits[0-2]@60", trials=1, **given)
        assert (study.settings["plugins"], list(study.trials["strategy"])) == (("own_strategies",), ["short_probe"])
    finally:
        STRATEGIES.restore(before)
        sys.modules.pop("own_strategies", None)


def test_what_only_this_process_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(config: Any, units: int) -> Any:
        return (head_phase("head", units, 1, 0.1),)

    monkeypatch.setattr(plan, "__module__", "__main__")
    with pytest.raises(FrostlineError, match=r"defined in this notebook or script.*%%writefile my_module.py"):
        run_search("photos", strategies=[Strategy("mine", "as defined in a cell", plan)])
