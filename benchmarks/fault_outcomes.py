"""What became of each fault, in a file, so that a list of them can be run in parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.fault_list import Fault
from benchmarks.harness import Report


@dataclass(frozen=True)
class Outcome:
    """What became of a study in which something went wrong.

    Attributes:
        happened: What the command did, and said.
        resumed: Whether it ended after all, and how.
        doctor: What the doctor said.
        lost: What is lost, doubled or not what it was.
        tracebacks: Printed by all commands.
        good: Whether that is what was expected.
        seconds: Of all that.
        sources: Commit that was run.
    """

    happened: str
    resumed: str
    doctor: str
    lost: str
    tracebacks: int
    good: bool
    seconds: float = 0.0
    sources: str = ""


Outcomes = dict[tuple[str, str], Outcome]


def read_outcomes(file: Path | None) -> Outcomes:
    """The last outcome of each fault by name and place."""
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    rows = map(json.loads, lines)
    return {(row.pop("name"), row.pop("place")): Outcome(**row) for row in rows}


def append_outcome(file: Path, fault: Fault, outcome: Outcome) -> None:
    row = {"name": fault.name, "place": fault.place, **asdict(outcome)}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def table_row(fault: Fault, outcome: Outcome) -> tuple[object, ...]:
    """Cells of a fault in the table of :func:`add_tables`."""
    said = (outcome.happened, outcome.resumed, outcome.doctor, outcome.lost, outcome.tracebacks)
    return fault.name, fault.place, fault.expected, *said, "yes" if outcome.good else "NO"


def add_tables(report: Report, faults: Sequence[Fault], outcomes: Outcomes) -> None:
    """Show what became of the faults that happened, and count."""
    there = [(fault, outcomes[fault.name, fault.place]) for fault in faults if (fault.name, fault.place) in outcomes]
    columns = ("fault", "of what", "expected", "what happened", "resumed", "doctor found", "lost", "tracebacks", "good")
    table = report.table("Faults", *columns)
    for fault, outcome in there:
        table.add(*table_row(fault, outcome))
    counts = report.table("Counts", "what", "count")
    counts.add("faults", len(there))
    counts.add("as expected, nothing lost", sum(outcome.good for _, outcome in there))
    counts.add("tracebacks", sum(outcome.tracebacks for _, outcome in there))
    counts.add("faults that were not run", len(faults) - len(there))
    seconds = sum(outcome.seconds for _, outcome in there)
    commits = list(dict.fromkeys(outcome.sources for _, outcome in there))
    report.notes.append(
        f"Three trials and two finals a study; {seconds:.0f} s; {len(commits)} commits: {', '.join(commits)} "
        "(+: with changes)."
    )
