"""The folder of a recording under way: a file a trial, so that it goes on where it stopped; packed into one file."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Table
from benchmarks.recordings import Cell, RecordedTrial, Recording, read_recording, trial_of, write_recording
from frostline.objectives.data import read_json, write_json


class Planned(NamedTuple):
    """A trial to record: its cell, the number of its configuration, the seed of its training."""

    dataset: str
    backbone: str
    strategy: str
    number: int
    seed: int

    @property
    def cell(self) -> Cell:
        return self[:3]

    def file(self, folder: Path) -> Path:
        return folder / "trials" / f"{'-'.join(self.cell)}-{self.number:02}-{self.seed}.json"


def open_records(facts: dict[str, Any], folder: Path) -> None:
    """Note what is recorded into a folder.

    Raises:
        SystemExit: The folder holds records of other settings.
    """
    file = folder / "settings.json"
    if (found := read_json(file)) not in (None, facts):
        raise SystemExit(f"{folder} holds records of other settings: {found}. Name another folder with --records.")
    write_json(file, facts)


def recorded(folder: Path, planned: Sequence[Planned]) -> list[RecordedTrial]:
    """The trials that a folder holds, in the order of the plan."""
    return [trial_of(row) for each in planned if (row := read_json(each.file(folder))) is not None]


def overview(planned: Sequence[Planned], trials: Sequence[RecordedTrial]) -> list[str]:
    """How many trials of each strategy are there, their seconds, and the expected seconds of the others."""
    seconds: dict[Any, list[float]] = defaultdict(list)
    for trial in trials:
        for group in (trial.cell, trial.strategy, "all"):
            seconds[group].append(trial.wall_seconds)
    done = {trial.key for trial in trials}

    def expected(each: Planned) -> float:
        """Mean of the cell; of the strategy or of all while the cell has no trial."""
        if each in done:
            return 0.0
        return statistics.mean(
            next((seconds[group] for group in (each.cell, each.strategy, "all") if seconds[group]), [0])
        )

    table = Table(("strategy", "recorded", "planned", "seconds a trial", "seconds left"))
    for name in dict.fromkeys(each.strategy for each in planned):
        own = [each for each in planned if each.strategy == name]
        mean = f"{statistics.mean(seconds[name]):.1f}" if seconds[name] else "-"
        table.add(name, len(seconds[name]), len(own), mean, f"{sum(map(expected, own)):.0f}")
    left = sum(map(expected, planned))
    return [*table.lines(), "", f"{len(trials)} of {len(planned)} trials; {left:.0f} s left ({left / 3600:.1f} h)"]


def pack(facts: dict[str, Any], folder: Path, trials: Sequence[RecordedTrial], file: Path) -> None:
    """Write all records as one file."""

    def read(name: str) -> dict[str, Any]:
        return {path.stem: read_json(path) for path in sorted((folder / name).glob("*.json"))}

    write_recording(Recording(tuple(trials), read("datasets"), read("sessions"), facts), file)
    print(f"{len(trials)} trials, {file.stat().st_size / 1e6:.2f} MB in {os.path.relpath(file)}")


def unpack(planned: Sequence[Planned], folder: Path, file: Path) -> None:
    """Write the records of a packed file into a folder; those that are there stay."""
    recording = read_recording(file)
    found = {trial.key: trial for trial in recording.trials}
    for each in planned:
        if each in found and not each.file(folder).exists():
            write_json(each.file(folder), found[each].row())
    for name in ("datasets", "sessions"):
        for key, facts in getattr(recording, name).items():
            write_json(folder / name / f"{key}.json", facts)
    print(f"{len(recorded(folder, planned))} of {len(planned)} trials in {folder}")
