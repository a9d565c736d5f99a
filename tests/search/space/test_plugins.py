"""Plugins: what registering and importing refuse, and a strategy of a user's own from search to verdict."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.dashboards.palette import look
from frostline.objectives.config import create_config
from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.phases import Phase
from frostline.objectives.strategies import BUILT_IN, STRATEGIES, Strategy, register_strategy
from frostline.objectives.strategies.plans import plan_phases
from frostline.search.space import plugins
from frostline.search.space.default_space import default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.space.plugins import load_plugins
from frostline.search.space.space_file import write_space
from frostline.search.study.observer import Observer
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

EXAMPLES = Path(__file__).parents[3] / "examples" / "plugins"
EXAMPLE = "fastai_fine_tune"
IMPORTS = "from frostline.objectives.strategies import *\nfrom frostline.objectives.phases import Phase\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; afterwards nothing is registered or imported that was not before."""
    strategies, modules = STRATEGIES.snapshot(), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(plugins, "_registered", {})
    yield tmp_path
    STRATEGIES.restore(strategies)
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith((str(tmp_path), str(EXAMPLES))):
            del sys.modules[name]


def head_only(name: str, **options: Any) -> Strategy:
    return Strategy(name, "the head", lambda config, units: (Phase("head", units, config.epochs, 1e-3),), **options)


def write(folder: Path, module: str, text: str) -> None:
    file = folder / f"{module.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(IMPORTS + text)


def registering(name: str, options: str = "") -> str:
    plan = "lambda config, units: (Phase('head', units, config.epochs, config.learning_rate),)"
    return f"register_strategy(Strategy({name!r}, 'mine', {plan}, {options}))\n"


def invoke(*args: str | Path, views: TerminalViews | None = None) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=views or TerminalViews(), prog_name="frostline")


# The registry


def test_a_name_is_one_strategys() -> None:
    mine = head_only("mine")
    register_strategy(mine)
    register_strategy(mine)
    for other in (head_only("mine"), head_only("full")):
        with pytest.raises(InvalidInputError, match=f"Another strategy is named '{other.name}'"):
            register_strategy(other)
    assert STRATEGIES["mine"] is mine
    assert STRATEGIES["full"].summary != "the head"


@pytest.mark.parametrize("name", ["", "My Way", "a/b", "1st", "shared", "study", "../x"])
def test_what_cannot_be_a_table_of_a_file_is_no_name(name: str) -> None:
    with pytest.raises(InvalidInputError, match="strategy's name"):
        register_strategy(head_only(name))
    assert name not in STRATEGIES


def test_parameters_that_do_not_exist_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidInputError) as refusal:
        register_strategy(head_only("mine", takes=frozenset({"freeze_dept"}), refuses=frozenset({"optimzer"})))
    assert len(refusal.value.faults) == 2
    for part in ("Did you mean 'freeze_depth'?", "Did you mean 'optimizer'?"):
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("phases", "part"),
    [
        ([], "no phase"),
        ([Phase("all", 0, 2, 1e-3, (1e-3,) * 3)], "3 unit_learning_rates in phase 'all', needs 4 - 0"),
        ([Phase("head", 5, 2, 1e-3)], "freezes 5 units in phase 'head', of 4"),
        ([Phase("head", 4, 0, 1e-3)], "phase 'head' 0 epochs"),
        ([Phase("head", 4, 1, 1e-3), Phase("head", 4, 1, 1e-3)], "two phases alike"),
    ],
)
def test_a_plan_that_no_network_can_follow_is_refused(phases: list[Phase], part: str) -> None:
    register_strategy(replace(head_only("mine"), plan=lambda config, units: tuple(phases)))
    with pytest.raises(InvalidInputError) as refusal:
        plan_phases(create_config({"strategy": "mine"}), 4)
    assert part in str(refusal.value)
    with pytest.raises(InvalidInputError, match="mine: its plan"):
        resolve_space(create_space({"mine": {}}), 4)


def test_a_strategy_brings_its_own_domains_into_the_default_space() -> None:
    domains = {"freeze_depth": {"low": 1, "high": -1, "default": -2}, "head": {"hidden_layers": 2}}
    register_strategy(head_only("mine", takes=frozenset({"freeze_depth"}), domains=domains))
    register_strategy(head_only("quick", domains={"epochs": 3}))
    register_strategy(head_only("solved", refuses=frozenset({"epochs"})))
    tables = default_tables(300)
    assert tables["mine"] == {"epochs": tables["full"]["epochs"], **domains}
    assert tables["quick"] == {"epochs": 3}
    assert tomllib.loads(write_space(tables)) == tables
    space = create_space(tables)
    assert "epochs" not in space.strategies["solved"]
    assert resolve_space(space, 6).default("mine")["freeze_depth"] == 4
    assert set(space.strategies) == set(STRATEGIES)


def test_strategies_that_are_not_there_have_looks_of_their_own() -> None:
    names = ["last_block", "mine", EXAMPLE]
    before = [look(name) for name in names]
    assert len({*before, *map(look, BUILT_IN)}) == len(names) + len(BUILT_IN)
    register_strategy(head_only("mine"))
    assert [look(name) for name in names] == before


# Importing


def test_a_module_of_the_current_folder_is_imported_once(folder: Path) -> None:
    write(folder, "ours.first", registering("first") + registering("second"))
    write(folder, "third", "import ours.first\n" + registering("third"))
    assert load_plugins(["ours.first", "third"]) == ("first", "second", "third")
    assert load_plugins(["third"]) == ("third",)
    assert load_plugins([]) == ()


def test_a_plugin_may_import_another(folder: Path) -> None:
    write(folder, "base", registering("base"))
    write(folder, "derived", "import base\n" + registering("derived"))
    assert load_plugins(["derived", "base"]) == ("base", "derived")


def test_a_module_that_was_imported_before_is_recognized(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "early", registering("early"))
    monkeypatch.syspath_prepend(folder)
    importlib.import_module("early")
    assert load_plugins(["early"]) == ("early",)


def test_nothing_in_the_folder_stands_in_for_a_library(folder: Path) -> None:
    write(folder, "colorsys", "raise SystemExit('not me')\n")
    write(folder, "mine", registering("mine"))
    assert load_plugins(["mine"]) == ("mine",)
    sys.modules.pop("colorsys", None)
    assert importlib.import_module("colorsys").rgb_to_hls(1, 1, 1) == (0.0, 1, 0.0)


BAD = {
    "boom": ("x = 1 / 0\n", ["ZeroDivisionError: division by zero", "boom.py, line 3"]),
    "quits": ("raise SystemExit(3)\n", ["SystemExit: 3", "quits.py, line 3"]),
    "broken": ("def f(:\n", ["SyntaxError", "broken.py, line 3"]),
    "needs": ("import no_such_library\n", ["No module named 'no_such_library'", "needs.py"]),
    "nothing": ("x = 1\n", ["registers no strategy", "register_strategy(Strategy("]),
    "takeover": (registering("fresh") + registering("full"), ["Another strategy is named 'full'"]),
    "typo": (registering("mine", "domains={'epoks': 3}"), ["[mine]", "Did you mean 'epochs'?"]),
}


def test_all_bad_plugins_are_told_at_once_and_nothing_is_made(folder: Path) -> None:
    for name, (text, _) in BAD.items():
        write(folder, name, text)
    files = sorted(folder.iterdir())
    named = [word for name in [*BAD, "missing", "full.py", "../boom"] for word in ("--plugin", name)]
    result = invoke("search", "nowhere", "--trials", "0", *named, "--workspace", "made")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    for name, (_, parts) in BAD.items():
        (line,) = [line for line in lines if line.startswith(f"plugin {name}:")]
        assert all(part in line for part in parts), line
    assert f"there is no module 'missing' in {folder}" in result.stderr
    assert "--plugin full" in result.stderr
    assert "plugin ../boom: give the module's name" in result.stderr
    assert "--trials must be at least 1" in result.stderr
    assert "nowhere" in result.stderr
    assert sorted(file for file in folder.iterdir() if file.name != "__pycache__") == files
    assert set(STRATEGIES) == set(BUILT_IN)


def test_a_plugin_that_was_mended_can_be_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(folder, "mended", registering("mine", "domains={'epoks': 3}"))
    with pytest.raises(InvalidInputError):
        load_plugins(["mended"])
    write(folder, "mended", registering("mine", "domains={'epochs': 3}"))
    assert load_plugins(["mended"]) == ("mine",)


def test_a_module_that_a_corrected_plugin_imports_registers_its_strategy_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(folder, "common", registering("common_probe"))
    write(folder, "fragile", "import common\n" + registering("mine") + "x = 1 / 0\n")
    with pytest.raises(InvalidInputError, match="ZeroDivisionError"):
        load_plugins(["fragile"])
    assert "common_probe" not in STRATEGIES
    write(folder, "fragile", "import common\n" + registering("mine"))
    assert load_plugins(["fragile"]) == ("common_probe", "mine")


def test_a_plugin_with_a_librarys_name_is_told_to_be_renamed(folder: Path) -> None:
    write(folder, "colorsys", registering("mine"))
    with pytest.raises(InvalidInputError, match=r"registers no strategy.*colorsys\.py was not imported.*rename"):
        load_plugins(["colorsys"])
    sys.modules.pop("colorsys", None)


def test_its_strategy_is_among_the_choices_and_in_the_printed_space() -> None:
    plugin = ["--plugin", EXAMPLE]
    sys.path.append(str(EXAMPLES))
    wrong = invoke("search", "sklearn:digits", *plugin, "--strategy", "fastai_finetune", "--workspace", "made")
    assert wrong.exit_code == 2
    assert f"Did you mean '{EXAMPLE}'?" in wrong.stderr
    assert EXAMPLE in wrong.stderr.split("Valid:")[1]
    printed = invoke("space", *plugin).stdout
    assert f"[{EXAMPLE}]  # the head and the norms for an epoch" in printed
    assert tomllib.loads(printed)[EXAMPLE]["schedule"] == "one_cycle"
    assert "[full]" in printed
    assert "[full]" not in invoke("space", *plugin, "--strategy", EXAMPLE).stdout
    few = invoke("search", "sklearn:digits", *plugin, "--trials", "5", "--workspace", "made")
    assert "6 strategies" in few.stderr


# The example, from search to verdict


class InterruptingViews(TerminalViews):
    """Ctrl-C in the second epoch of the second trial."""

    def observer(self) -> Observer:
        class Interrupting(Observer):
            def epoch_finished(self, number: int, result: EpochResult) -> None:
                if (number, result.epoch) == (1, 1):
                    raise KeyboardInterrupt

        return Interrupting()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not imported the plugin."""
    STRATEGIES.restore({name: strategy for name, strategy in STRATEGIES.items() if name != EXAMPLE})
    del sys.modules[EXAMPLE]
    monkeypatch.setattr(plugins, "_registered", {})
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(Path.cwd())])


SEARCH = (
    *("sklearn:digits[0-2]@60", "--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32"),
    *("--plugin", EXAMPLE, "--space", "space.toml", "--trials", "2", "--seeds", "1", "--name", "tiny"),
)
PLACE = ("--device", "cpu", "--workspace", "ws")


@pytest.mark.slow
def test_resume_needs_no_more_than_the_name_of_the_study(
    folder: Path, tracking_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ws").mkdir()
    shutil.copy(tracking_database, folder / "ws")
    (folder / f"{EXAMPLE}.py").write_text((EXAMPLES / f"{EXAMPLE}.py").read_text())
    (folder / "space.toml").write_text(f"[{EXAMPLE}]\nepochs = 3\n\n[linear_probe_exact]\n")
    stopped = invoke(
        "search", *SEARCH, *PLACE, "--strategy", "linear_probe_exact", "--strategy", EXAMPLE, views=InterruptingViews()
    )
    assert stopped.exit_code == 130, stopped.output
    study = Study.load("tiny", Workspace(folder / "ws"))
    assert study.settings.plugins == (EXAMPLE,)
    assert [(trial.strategy, trial.state) for trial in study.trials()] == [
        ("linear_probe_exact", "complete"),
        (EXAMPLE, "waiting"),
    ]

    # Without the plugin, then in another process with it.
    forget(monkeypatch)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    lost = invoke("resume", "tiny", "--workspace", folder / "ws")
    assert lost.exit_code == 2, lost.output
    assert f"plugin {EXAMPLE}: there is no module {EXAMPLE!r}" in lost.stderr
    assert "PYTHONPATH" in lost.stderr
    assert [trial.state for trial in study.trials()] == ["complete", "waiting"]
    write(elsewhere, EXAMPLE, registering("renamed"))
    renamed = invoke("resume", "tiny", "--workspace", folder / "ws")
    assert renamed.exit_code == 2, renamed.output
    assert f"Study 'tiny' needs {EXAMPLE}, which its plugins ({EXAMPLE}) do not register" in renamed.stderr
    forget(monkeypatch)
    script = "from frostline.dashboards.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "resume", "tiny", *PLACE, "--json"]
    resumed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    described = json.loads(resumed.stdout)
    assert {name: counts["complete"] for name, counts in described["strategies"].items()} == {
        "linear_probe_exact": 1,
        EXAMPLE: 1,
    }
    assert len(described["verdict"]["contenders"]) == 2

    # Reading does without the plugin.
    monkeypatch.chdir(folder)
    (folder / f"{EXAMPLE}.py").unlink()
    for args in (["status", "tiny", "--json"], ["verdict", "tiny", "--json", "--device", "cpu"]):
        read = invoke(*args, "--workspace", "ws")
        assert read.exit_code == 0, read.output
        assert json.loads(read.stdout)["verdict"] == described["verdict"]
    page = invoke("report", "tiny", "--workspace", "ws", "--output", "page.html")
    assert page.exit_code == 0, page.output
    assert f"--plugin {EXAMPLE}" in (folder / "page.html").read_text()
    more = invoke("resume", "tiny", "--trials", "3", "--workspace", "ws")
    assert more.exit_code == 2
    assert f"no module {EXAMPLE!r}" in more.stderr
    assert Study.load("tiny", Workspace(folder / "ws")).settings.trials == 2
