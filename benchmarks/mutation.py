"""Do the tests see when the code is changed? Mutants of what must not be wrong, and how many of them a test kills.

    pip install cosmic-ray
    python benchmarks/mutation.py --keep

`mutants.py` makes them, `mutant_tests.py` runs the tests of each.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import random
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.mutant_tests import GRACE_SECONDS, LIBRARIES, PATIENCE, Part, Runner
from benchmarks.mutants import ROOT, Mutant, mutate, places_of

# Percent of the mutants that shall not survive.
LEAST = 85
# More mutants of a part are sampled.
MOST = 120


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
            "quadrature",
            *("test_what_is_said_to_decide_it", "test_a_true_difference_is_found", "test_the_order_of_the_finals"),
            *("test_about_the_same_cost", "test_a_cheaper_one_that_is_as_good", "test_intervals_contain_the_observed"),
            *("test_a_race_whose_seeds_are_raised", "test_what_is_far_behind", "test_a_race_ends_where"),
            *("test_a_strategy_that_left_stays", "test_many_seeds_leave_open"),
        ),
    ),
    Part(
        "sampler",
        _under(
            "search/sampling",
            *("sampler", "strategy_choice", "strategy_trials", "strategy_view", "ended_trials", "user_samplers"),
        ),
        _under(
            "tests/search/sampling",
            *("test_sampler", "test_strategy_choice", "test_strategy_trials", "test_strategy_view"),
            "test_user_samplers",
        ),
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
class Found:
    """What became of the mutants of a part.

    Attributes:
        part: Name of the part.
        places: Number of places where something can be changed.
        outcomes: Of each mutant that was run.
        tests: Number of tests.
        seconds: Of the tests without a mutant.
    """

    part: str
    places: int
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
    places = [place for file in part.files for place in places_of(file, root)]
    random.Random(seed).shuffle(places)
    chosen = mutate(places, most, root)
    runner = Runner(part, root, package)
    outcomes = list[tuple[Mutant, str]]()
    for mutant in sorted(chosen, key=lambda mutant: (mutant.file, mutant.line)):
        outcomes.append((mutant, runner.outcome(mutant)))
        if outcomes[-1][1] != "killed":
            print(f"{outcomes[-1][1]}: {mutant}", flush=True)
    return Found(part.name, len(places), outcomes, runner.tests, runner.seconds)


def markdown(results: Sequence[Found], facts: Sequence[str] = ()) -> str:
    """The table, and the mutants that survived."""
    # Each process that runs a mutant imports this file: what is large is imported here.
    from benchmarks.harness import Table, at_least

    columns = (
        "part",
        "places",
        "mutants run",
        "killed",
        "timed out",
        "survived",
        "not survived, %",
        f">= {LEAST}",
        "tests",
    )
    table = Table(columns)
    for found in results:
        counts = (found.count(outcome) for outcome in ("killed", "timed out", "survived"))
        reached = at_least(LEAST).judge([100 * found.share])
        table.add(
            found.part, found.places, len(found.outcomes), *counts, f"{100 * found.share:.1f}", reached, found.tests
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
        f"Of the places where Cosmic Ray can change a part, those of {arguments.most} mutants are chosen at random, "
        f"with seed {arguments.seed}. Changes that Python does not compile, those of annotations alone, which are not "
        "evaluated, and doubles do not count. No other mutant was left out, also none that changes nothing.",
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
