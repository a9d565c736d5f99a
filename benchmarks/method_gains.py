"""What methods that are no defaults gain in test accuracy, each beside the same training without it.

    python benchmarks/method_gains.py --keep                    # an hour on two cores
    python benchmarks/method_gains.py --only attention          # those whose names have the word

Both sides share seed, images and all other values. A gain is one where the interval lies above zero.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting
from benchmarks.paired_scores import half_width, interval, scored_settings, test_accuracy
from frostline.objectives.heap import keep_freed_memory


@dataclass(frozen=True)
class Method:
    """A method beside the training without it.

    Attributes:
        name: As the table has it.
        without: Configuration by dotted name.
        with_it: The values that differ.
    """

    name: str
    without: dict[str, Any]
    with_it: dict[str, Any]


METHODS: tuple[Method, ...] = ()


def measure(settings: Sequence[Setting], methods: Sequence[Method], seeds: int) -> Report:
    """Every method on every dataset, paired by seed."""
    report = Report("method_gains", "What methods gain that are no defaults.", settings[0])
    table = report.table(
        "Test accuracy",
        *("method", "dataset", "network", "without, %", "with, %", "gain, points (95 %)", "gained", "seeds"),
    )
    for own in settings:
        with harness.scratch_folder() as folder:
            dataset = own.dataset(folder)
            task, test = own.task(dataset), dataset.open_test()
        for method in methods:
            sides = ({}, method.with_it)
            without, with_it = (
                [test_accuracy({**method.without, **more}, task, test, seed) for seed in range(seeds)] for more in sides
            )
            gains = [ours - theirs for ours, theirs in zip(with_it, without, strict=True)]
            table.add(
                *(method.name, Path(own.data).name, f"{own.backbone}, {own.image_size} px"),
                *(f"{statistics.mean(each):.2f}" for each in (without, with_it)),
                *(interval(gains), _judge(gains), seeds),
            )
            print("\t".join(table.rows[-1]), flush=True)
    return report


def _judge(gains: Sequence[float]) -> str:
    mean, half = statistics.mean(gains), half_width(gains)
    return "yes" if mean > half else "lost" if mean < -half else "no"


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--seeds", type=int, default=5, help="of each training (%(default)s)")
    options.add_argument("--only", default="", metavar="WORD", help="methods whose names have this word")
    arguments: argparse.Namespace = options.parse_args()
    # As a search does.
    keep_freed_memory()
    chosen = [method for method in METHODS if arguments.only in method.name]
    seeds = 2 if arguments.quick else arguments.seeds
    harness.finish(measure(scored_settings(harness.setting(arguments)), chosen, seeds), arguments)


if __name__ == "__main__":
    main()
