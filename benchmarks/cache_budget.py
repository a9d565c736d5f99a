"""A feature cache that is too small changes nothing but the time.

    python benchmarks/cache_budget.py --keep      # about ten minutes on two cores

The same study of partial fine-tuning and feature extraction, 10 epochs a trial, with room for all features and with a
small budget. What had to leave the small one is counted, and how much its files held at most; curves, states, scores
and the finals' probabilities are compared bit for bit.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, Target, at_least, at_most
from frostline.objectives.features import feature_store
from frostline.objectives.sizes import parse_size
from frostline.search.execution import run_search
from frostline.search.records import TrialRecord
from frostline.search.study import Observer, Study
from frostline.storage.files import FeatureFiles
from frostline.storage.workspace import Workspace

# Cuts whose features are large, but smaller than the images; several views, so that views compete too.
SPACE = """
[shared]
epochs = 10
batch_size = 32
patience = 10
[feature_extraction]
augmentation = "none"
[partial]
freeze_depth = { low = 5, high = 8, default = 5 }
augmentation = "flip_crop"
views = 4
"""


class Held(Observer):
    """How many bytes of features the files of a workspace held at most, looked at after each trial."""

    def __init__(self, files: FeatureFiles) -> None:
        self._files = files
        self.most = 0

    def trial_finished(self, trial: TrialRecord) -> None:
        self.most = max(self.most, sum(entry[0] for entry in self._files.held().values()))


@contextmanager
def evictions() -> Iterator[list[str]]:
    """Keys of the entries that leave a tier, or the files, for another."""
    gone: list[str] = []

    def choose(*arguments: object) -> list[str] | None:
        victims = choose_evictions(*arguments)  # pyright: ignore[reportArgumentType]
        gone.extend(victims or ())
        return victims

    choose_evictions = feature_store.choose_evictions
    with mock.patch.object(feature_store, "choose_evictions", choose):
        yield gone


@dataclasses.dataclass(frozen=True)
class Run:
    """A study, what left its caches, what its files held at most, bytes, and how long it took, seconds."""

    study: Study
    evicted: int
    held: int
    seconds: float


def run(setting: Setting, folder: Path, budget: str, trials: int) -> Run:
    folder.mkdir()
    (folder / "space.toml").write_text(SPACE)
    workspace = Workspace(folder)
    held = Held(FeatureFiles(workspace.features))
    request = setting.request(
        name="budget", trials=trials, finals_seeds=1, candidates=1, cache_budget=budget, metric="accuracy"
    )
    request = dataclasses.replace(request, space=folder / "space.toml")
    started = time.perf_counter()
    with evictions() as gone:
        study = run_search(request, workspace, held)
    return Run(study, len(gone), held.most, time.perf_counter() - started)


def differences(one: Study, other: Study) -> list[str]:
    """What is not the same, bit for bit."""
    found = [
        f"trial {mine.number}"
        for mine, yours in zip(one.trials(), other.trials(), strict=True)
        if (mine.config, mine.state, mine.score, mine.curve) != (yours.config, yours.state, yours.score, yours.curve)
    ]
    finals = zip(one.final_records(), other.final_records(), strict=True)
    found += [
        f"final of {mine.strategy}"
        for mine, yours in finals
        if not np.array_equal(mine.probabilities, yours.probabilities)
    ]
    return found


def measure(setting: Setting, budget: str, trials: int) -> Report:
    """Both studies."""
    report = Report(
        "cache_budget", f"A study under a cache budget of {budget} gives what one with room gives.", setting
    )
    with harness.scratch_folder() as folder:
        roomy, tight = run(setting, folder / "roomy", "8GB", trials), run(setting, folder / "tight", budget, trials)
        differ = differences(roomy.study, tight.study)
        table = report.table("Both", "budget", "left for others", "files at most, MB", "seconds")
        for name, each in (("8GB", roomy), (budget, tight)):
            table.add(name, each.evicted, f"{each.held / 1e6:.0f}", f"{each.seconds:.0f}")
        size = parse_size(budget) or 0
        verdicts = report.table("Targets", "what", "measured", "target", "met")
        wanted: list[tuple[str, float, Target]] = [
            ("evictions under the budget", tight.evicted, at_least(1)),
            ("features in files at most, MB", tight.held / 1e6, at_most(size / 1e6)),
            ("trials and finals that differ", len(differ), at_most(0)),
        ]
        for what, value, target in wanted:
            verdicts.add(what, f"{value:.0f}", target, target.judge([value]))
        report.notes.append(f"{trials} trials of up to 10 epochs and {len(tight.study.final_records())} finals each.")
        report.notes += [f"Another result: {what}" for what in differ]
        for each in (roomy, tight):
            each.study.close()
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.set_defaults(
        backbone="squeezenet1_1",
        weights=str(harness.SHARED / "weights/squeezenet1_1_imagenet.safetensors"),
        image_size=112,
    )
    options.add_argument("--budget", default="200MB", help="(%(default)s)")
    options.add_argument("--trials", type=int, default=8, help="(%(default)s)")
    arguments = options.parse_args()
    trials = 3 if arguments.quick else arguments.trials
    harness.finish(measure(harness.setting(arguments), arguments.budget, trials), arguments)


if __name__ == "__main__":
    main()
