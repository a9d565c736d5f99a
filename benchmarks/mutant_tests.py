"""Tests of mutants: each in a process of its own, forked from one that has imported the libraries.

A mutant is never written to the disk: the process imports it in place of its module, and ends at the first test that
fails.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutants import ROOT, Mutant

# A mutant may take so many times the time of the tests without one, and so many seconds more: the machine is shared.
PATIENCE, GRACE_SECONDS = 5, 20
# What tests import that is large.
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
