"""What a reader waits for, and how the code is tied: this checkout beside an older one, in one sitting.

    python benchmarks/house.py OLDER --keep              # OLDER: a checkout with its own .venv; about two minutes
    python benchmarks/house.py OLDER --suite --keep      # and `make test` of both, once; 20 minutes

User and system time of whole processes, the two sides alternately. The finished study is made by the older side. Here
the first command that shows its verdict keeps the comparison of the finals; the others read it.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness

HERE = Path(__file__).parents[1]
FOLDERS = ("search", "objectives", "storage", "dashboards")
MAX_LINES = 350
STUDY = ("sklearn:digits[0-2]@60", "--backbone", "shufflenet_v2_x0_5", "--weights", "none", "--image-size", "32")
SMALL = ("--strategy", "feature_extraction", "--trials", "2", "--seeds", "2", "--name", "read", "--device", "cpu")
# Circles of imports, in-function and TYPE_CHECKING imports included.
CIRCLES = """
import grimp
graph = grimp.build_graph("frostline.search", "frostline.objectives", "frostline.storage", "frostline.dashboards")
def tied(module):
    below = graph.find_modules_directly_imported_by(module)
    return any(graph.chain_exists(importer=each, imported=module) for each in below)
print(sum(map(tied, graph.modules)))
"""


def processor_seconds(command: Sequence[str | Path]) -> float:
    """User and system time of a process and its children, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def quick_tests(checkout: Path) -> tuple[float, float, str]:
    """Run `make test` of a checkout: wall time, user and system time (s), and pytest's tallies."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run(["make", "test"], cwd=checkout, capture_output=True, text=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return wall, spent, "; ".join(re.findall(r"^(\d+ .*) in [\d.]+s", ended.stdout, re.MULTILINE))


def long_files(checkout: Path) -> int:
    files = [file for folder in FOLDERS for file in (checkout / folder).rglob("*.py")]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) > MAX_LINES for file in files)


def tied_modules(checkout: Path) -> int:
    """Modules that take part in a circle of imports."""
    python = checkout / ".venv/bin/python"
    return int(subprocess.run([python, "-c", CIRCLES], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("older", type=Path, help="a checkout with its own .venv")
    options.add_argument("--suite", action="store_true", help="run `make test` of both sides too")
    options.set_defaults(pairs=7, data=STUDY[0], backbone=STUDY[2], weights="none", image_size=32)
    arguments: argparse.Namespace = options.parse_args()
    older = arguments.older.resolve()
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("house", "What reading costs, and how the code is tied, beside an older commit.", chosen)
    with tempfile.TemporaryDirectory() as folder:
        where = ("--workspace", folder)
        subprocess.run(
            [older / ".venv/bin/frostline", "search", *STUDY, *SMALL, *where], check=True, capture_output=True
        )
        times = report.table("User and system time, s", "command", "older", "here", "here / older", "n")
        for name, command in {
            "frostline status STUDY": ("frostline", "status", "read", *where),
            "frostline status": ("frostline", "status", *where),
            "frostline verdict STUDY": ("frostline", "verdict", "read", *where),
            "frostline doctor STUDY": ("frostline", "doctor", "read", *where),
            "frostline space": ("frostline", "space"),
            "import frostline.search.study": ("python", "-c", "IMPORT"),
        }.items():
            sides: list[list[float]] = [[], []]
            for _ in range(arguments.pairs):
                for side, checkout in zip(sides, (older, HERE), strict=True):
                    module = "study.study" if (checkout / "search/study/study.py").exists() else "study"
                    words = [word.replace("IMPORT", f"import frostline.search.{module}") for word in command[1:]]
                    side.append(processor_seconds([checkout / ".venv/bin" / command[0], *words]))
            ratio = statistics.median(sides[1]) / statistics.median(sides[0])
            times.add(name, *(harness.spread(side) for side in sides), f"{ratio:.2f}", arguments.pairs)
    shape = report.table("Shape", "what", "older", "here")
    shape.add("modules in circles of imports", *(tied_modules(checkout) for checkout in (older, HERE)))
    shape.add(f"files of more than {MAX_LINES} lines", *(long_files(checkout) for checkout in (older, HERE)))
    if arguments.suite:
        suite = report.table("`make test`, one run", "side", "wall time, s", "user and system time, s", "tests")
        for side, checkout in (("older", older), ("here", HERE)):
            wall, spent, tally = quick_tests(checkout)
            suite.add(side, f"{wall:.0f}", f"{spent:.0f}", tally)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
