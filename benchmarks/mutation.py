"""Do the tests see when the code is changed? Mutants of what must not be wrong, and how many of them a test kills.

    pip install cosmic-ray
    python benchmarks/mutation.py --keep

Cosmic Ray makes the mutants: one changed operator, number, comparison, constant, decorator, loop or exception each.
A mutant is never written to the disk: it is imported in place of its module by a process that runs the tests. Such a
process is forked from one that has imported the libraries, and ends at the first test that fails.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import datetime
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import platform
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Each process that runs a mutant imports this file, so Frostline and what is large are imported where they are used.

ROOT = Path(__file__).parents[1]
# Percent of the mutants that shall not survive.
LEAST = 85
# More mutants of a part are sampled.
MOST = 120
# A mutant may take so many times the time of the tests without one, and so many seconds more: the machine is shared.
PATIENCE, GRACE_SECONDS = 5, 20
LIBRARIES = (
    *(
        "alembic.config",
        "hypothesis",
        "mlflow",
        "numpy",
        "optuna",
        "pandas",
        "psutil",
        "pyarrow",
        "pytest",
        "scipy.stats",
    ),
    *("sklearn.linear_model", "sqlalchemy.orm", "torch", "torchvision", "typer.testing", "pydantic", "rich.console"),
)


@dataclass(frozen=True)
class Part:
    """What is changed, and the tests that shall see it.

    Attributes:
        name: In the table.
        files: Modules, from the root.
        tests: Files of tests, from the root.
        without: Names of tests that take too long, as pytest's ``-k`` takes them.
        conftest: Folder from which on ``conftest.py`` files are read. That of all tests imports most of Frostline.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()
    conftest: str = "tests/objectives"


def _under(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names)


PARTS = (
    Part(
        "verdict",
        _under("search/analysis", "verdict", "comparison", "race", "score_draws", "seed_spread"),
        _under(
            "tests/search/analysis",
            *("test_verdict", "test_comparison", "test_race", "test_score_draws", "test_seed_spread"),
        ),
        without=(
            *("test_claims_hold_at_their_stated_rate", "test_few_equal_strategies_are_rarely", "quadrature"),
            *("test_what_is_said_to_decide_it", "test_a_true_difference_is_found", "test_the_order_of_the_finals"),
            *("test_about_the_same_cost", "test_a_cheaper_one_that_is_as_good", "test_intervals_contain_the_observed"),
            *("test_a_race_whose_seeds_are_raised", "test_what_is_far_behind", "test_a_race_ends_where"),
            *("test_a_strategy_that_left_stays", "test_many_seeds_leave_open"),
        ),
    ),
    Part(
        "sampler",
        _under("search/sampling", "sampler", "strategy_view", "user_samplers"),
        _under("tests/search/sampling", "test_sampler", "test_strategy_view"),
        without=(
            *("test_who_is_behind_has_its_floor", "test_what_is_cheap_comes_first"),
            "test_every_strategy_gets_its_floor",
        ),
    ),
    Part(
        "budget",
        _under("search/sampling", "budget"),
        _under("tests/search/sampling", "test_budget", "test_trial_costs"),
    ),
    Part(
        "leases",
        _under("storage/database", "leases", "tickets", "ticket_table", "ticket_use"),
        _under("tests/storage/database", "test_leases", "test_tickets"),
        without=(
            *("postgres", "mariadb", "test_a_server_that_is_restarted", "test_what_a_killed_worker"),
            *("test_who_has_ended", "test_a_keeper_renews_while"),
        ),
        conftest="tests",
    ),
    Part(
        "journal",
        _under("storage/tracking", "journal", "journal_records", "line_file"),
        _under("tests/storage/tracking", "test_journal", "test_journal_records", "test_line_file"),
        without=("test_plain_values_of_any_kind", "test_cut_off_at_any_byte", "test_a_killed_writer"),
    ),
    Part(
        "freezing",
        (
            *_under("objectives", "phases", "strategies/built_in", "strategies/plans"),
            *_under("objectives", "networks/network", "networks/frozen_prefix", "training/certificate"),
        ),
        (
            *_under("tests/objectives", "strategies/test_plans", "networks/test_network"),
            *_under("tests/objectives", "networks/test_frozen_prefix", "training/test_certificate"),
        ),
        without=("test_features_are_bit_identical", "test_a_trial_whose_frozen_statistics"),
    ),
)


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        file: Of the module, from the root.
        line: That is changed.
        code: Of the whole changed module.
        change: The line before and after.
    """

    file: str
    line: int
    code: str
    change: str

    def __str__(self) -> str:
        return f"`{self.file}:{self.line}` {self.change}"


def mutants_of(file: str, root: Path = ROOT) -> list[Mutant]:
    """All mutants of a module that Cosmic Ray makes and Python compiles, except those that change annotations alone.

    Annotations are not evaluated in these modules (``from __future__ import annotations``).

    Raises:
        SystemExit: Cosmic Ray is not installed; says how to.
    """
    try:
        names = ("cosmic_ray.ast", "cosmic_ray.mutating", "cosmic_ray.plugins")
        trees, mutating, plugins = (importlib.import_module(name) for name in names)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is missing. Install it with: pip install cosmic-ray") from None
    source = (root / file).read_text(encoding="utf-8")
    nodes, found, seen = list(trees.ast_nodes(trees.get_ast(source))), list[Mutant](), {_run_code(source)}
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if kind.arguments():
            continue
        operator = kind()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for number, (line, _) in enumerate(places):
            code = mutating.mutate_code(source, operator, number)
            with contextlib.suppress(SyntaxError):
                if (run := _run_code(code)) not in seen:
                    seen.add(run)
                    found.append(Mutant(file, line, code, _change(source, code)))
    return found


def _run_code(source: str) -> str:
    """What of a module is run: its syntax tree without annotations."""
    tree = ast.parse(source)
    compile(source, "mutant", "exec", dont_inherit=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def _change(before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    first = next(place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other)
    removed = len(old) - len(new)
    return f"`{old[first].strip()}` → `{new[first].strip() if removed <= 0 else ''}`"


class _Mutated(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds and loads one module, from other code than that of its file."""

    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self.code = code

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return (
            importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None
        )

    def get_code(self, fullname: str) -> Any:
        return compile(self.code, self.path, "exec", dont_inherit=True)


class _Order:
    """The quickest tests first; by name, their seconds."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.measured = dict[str, float]()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.measured[report.nodeid] = self.measured.get(report.nodeid, 0.0) + report.duration


def _test(
    root: Path, tests: Sequence[str], mutated: tuple[str, str, str] | None, order: _Order, output: str, told: Any
) -> None:
    """Run tests in this process, and tell pytest's code and the seconds of each test."""
    import hypothesis
    import pytest

    # The same examples for every mutant.
    hypothesis.settings.register_profile("mutants", deadline=None, derandomize=True, database=None)
    hypothesis.settings.load_profile("mutants")
    # What was imported before the fork is no garbage.
    gc.freeze()
    os.setpgid(0, 0)
    os.chdir(root)
    # As `python -m pytest` does.
    sys.path.insert(0, str(root))
    # Modules are compiled once, not for each mutant.
    sys.dont_write_bytecode = False
    # Plugins would complain that they were imported before pytest.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for standard in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), standard)
    if mutated is not None:
        sys.meta_path.insert(0, _Mutated(*mutated))
    code = pytest.main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests], plugins=[order])
    told.send((int(code), order.measured))
    # Threads that a mutant does not end are not waited for.
    os._exit(0)


class Runner:
    """Runs the tests of a part, with a mutant or without.

    Args:
        part: The part.
        root: Folder of the sources.
        package: That the modules are imported below.

    Raises:
        RuntimeError: The tests fail without a mutant.
    """

    def __init__(self, part: Part, root: Path = ROOT, package: str = "frostline") -> None:
        self._root, self._package = root, package
        left_out = ["-k", f"not ({' or '.join(part.without)})"] if part.without else []
        self._tests = [f"--confcutdir={part.conftest}", *part.tests, *_doctests(part, root), *left_out]
        self._order = _Order({})
        self._limit = 600.0
        started = time.perf_counter()
        with tempfile.NamedTemporaryFile("r") as output:
            code, measured = self._run(None, output.name)
            if code != 0:
                raise RuntimeError(f"the tests of {part.name} fail without a mutant:\n{output.read()}")
        self.seconds = time.perf_counter() - started
        self.tests = len(measured)
        self._order = _Order(measured)
        self._limit = GRACE_SECONDS + PATIENCE * self.seconds

    def outcome(self, mutant: Mutant) -> str:
        """``survived``, ``killed`` or ``timed out``."""
        parts = Path(mutant.file).with_suffix("").parts
        name = ".".join((self._package, *parts)).lstrip(".")
        code, _ = self._run((name, str(self._root / mutant.file), mutant.code))
        return "timed out" if code is None else "killed" if code else "survived"

    def _run(
        self, mutated: tuple[str, str, str] | None, output: str = os.devnull
    ) -> tuple[int | None, dict[str, float]]:
        """Pytest's code, None if it took too long; and the seconds of each test."""
        context = multiprocessing.get_context("forkserver")
        heard, told = context.Pipe(duplex=False)
        process = context.Process(target=_test, args=(self._root, self._tests, mutated, self._order, output, told))
        process.start()
        told.close()
        try:
            return heard.recv() if heard.poll(self._limit) else (None, {})
        except EOFError:
            # The process crashed.
            return 1, {}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            heard.close()


def _doctests(part: Part, root: Path) -> Iterator[str]:
    for file in part.files:
        if ">>>" in (root / file).read_text(encoding="utf-8") and (root / "tests/test_doctests.py").exists():
            yield f"tests/test_doctests.py::test_examples_give_what_they_show[{file}]"


@dataclass(frozen=True)
class Found:
    """What became of the mutants of a part.

    Attributes:
        part: Name of the part.
        made: Number of mutants there are.
        outcomes: Of each that was run.
        tests: Number of tests.
        seconds: Of the tests without a mutant.
    """

    part: str
    made: int
    outcomes: Sequence[tuple[Mutant, str]]
    tests: int
    seconds: float

    def count(self, outcome: str) -> int:
        return sum(each == outcome for _, each in self.outcomes)

    @property
    def share(self) -> float:
        """Share of the mutants that did not survive."""
        return 1 - self.count("survived") / max(1, len(self.outcomes))


def measure(part: Part, most: int = MOST, seed: int = 0, root: Path = ROOT, package: str = "frostline") -> Found:
    """Run the tests of a part on a sample of its mutants."""
    made = [mutant for file in part.files for mutant in mutants_of(file, root)]
    chosen = made if len(made) <= most else random.Random(seed).sample(made, most)
    runner = Runner(part, root, package)
    outcomes = list[tuple[Mutant, str]]()
    for mutant in sorted(chosen, key=lambda mutant: (mutant.file, mutant.line)):
        outcomes.append((mutant, runner.outcome(mutant)))
        if outcomes[-1][1] != "killed":
            print(f"{outcomes[-1][1]}: {mutant}", flush=True)
    return Found(part.name, len(made), outcomes, runner.tests, runner.seconds)


def markdown(results: Sequence[Found], facts: Sequence[str] = ()) -> str:
    """The table, and the mutants that survived."""
    from benchmarks.harness import Table, at_least

    columns = ("part", "mutants", "run", "killed", "timed out", "survived", "not survived, %", f">= {LEAST}", "tests")
    table = Table(columns)
    for found in results:
        counts = (found.count(outcome) for outcome in ("killed", "timed out", "survived"))
        reached = at_least(LEAST).judge([100 * found.share])
        table.add(
            found.part, found.made, len(found.outcomes), *counts, f"{100 * found.share:.1f}", reached, found.tests
        )
    lines = ["# mutation", "", "How many mutants of what must not be wrong the tests kill.", ""]
    for fact in facts:
        lines += [fact, ""]
    lines += ["## Mutants", "", *table.lines(), ""]
    for found in results:
        left = [f"- {mutant}" for mutant, outcome in found.outcomes if outcome == "survived"]
        lines += [f"## Survived: {found.part}", "", *left, ""] if left else []
    return "\n".join(lines)


def _facts(arguments: argparse.Namespace, commit: str) -> list[str]:
    """By which command, when, of which code, and how mutants were chosen."""
    command = shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    return [
        f"`{command}`, {datetime.date.today()}, commit {commit}, Cosmic Ray {version('cosmic-ray')}, "
        f"Python {platform.python_version()}",
        f"Of a part with more than {arguments.most} mutants, {arguments.most} are run, chosen at random with seed "
        f"{arguments.seed}. Those that Python does not compile, and those that change annotations alone, which are not "
        "evaluated, do not count. No other mutant was left out, also none that changes nothing.",
        f"A mutant timed out if its tests took {GRACE_SECONDS} s and {PATIENCE} times their usual time. Tests that "
        "take long, and those on servers, are left out: `PARTS` in the script names them.",
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    options.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    options.add_argument("--most", type=int, default=MOST, help="mutants of a part (%(default)s)")
    options.add_argument("--seed", type=int, default=0, help="of the sample (%(default)s)")
    options.add_argument("--keep", action="store_true", help="write the table to benchmarks/results/")
    arguments = options.parse_args()
    # Processes that are forked inherit it.
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.set_forkserver_preload(list(LIBRARIES))
    sys.path.insert(0, str(ROOT))
    from benchmarks import harness

    facts = _facts(arguments, harness.machine_facts()["commit"])
    results = list[Found]()
    for part in PARTS:
        if part.name in arguments.only:
            started = time.perf_counter()
            results.append(measure(part, arguments.most, arguments.seed))
            print(f"{part.name}: {100 * results[-1].share:.1f} %, {time.perf_counter() - started:.0f} s", flush=True)
    text = markdown(results, facts)
    print(text)
    if arguments.keep:
        (harness.RESULTS / "mutation.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
