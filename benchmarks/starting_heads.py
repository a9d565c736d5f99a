"""Does fine-tuning gain from a head that is solved first, on the last unit or on several?

    python benchmarks/starting_heads.py --keep              # 40 minutes on one core

Test accuracy of `lp_ft` and `partial` on five pairs of a dataset and a network: as the default space had them before (a
head that trains in steps, on the last unit), and from a solved head in half of the epochs. All share images and seed;
each seed divides training and validation images anew. Rates were chosen on seed 0 of three pairs, which is not here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting
from benchmarks.paired_scores import interval, test_accuracy
from frostline.objectives.config import create_config
from frostline.objectives.heap import keep_freed_memory
from frostline.objectives.strategies import plan_trial

PAIRS = (
    ("garments_small", "shufflenet_v2_x0_5", "shufflenet_v2_x0_5_backbone"),
    ("garments_small", "squeezenet1_1", "squeezenet1_1_imagenet"),
    ("clothing", "squeezenet1_1", "squeezenet1_1_imagenet"),
    ("flowers", "mobilenet_v2", "mobilenet_v2_imagenet"),
    ("blood_cells", "mobilenet_v2", "mobilenet_v2_imagenet"),
)
SIDE = 64
_SHARED = {
    **{"batch_norm": "eval", "batch_size": 16, "augmentation": "flip_crop", "head.dropout": 0.1, "warmup": 0.1},
    "weight_decay": 1e-3,
}
_STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "lp_ft": {"strategy": "lp_ft"},
    "partial": {"strategy": "partial", "views": 4},
}
_STEPS = {"epochs": 12, "learning_rate": 1e-3, "backbone_lr_ratio": 0.3}
_SOLVED = {"head.init": "probe", "epochs": 6, "learning_rate": 3e-4, "backbone_lr_ratio": 1.0}
# A head sees as many units as it can, at most so many.
STARTS: Mapping[str, Mapping[str, Any]] = {
    "steps, 1 unit": _STEPS,
    "solved, 1 unit": _SOLVED,
    "solved, 8 units": {**_SOLVED, "head.depths": 8},
}
COLUMNS = (
    "strategy",
    "head",
    "test accuracy, %",
    "gained on steps, points (95 %)",
    "CPU seconds on steps",
    "trainings",
)


class Trained(NamedTuple):
    """Test accuracy, %, and processor seconds of a training."""

    accuracy: float
    seconds: float


def configuration(strategy: str, start: str, units: int) -> dict[str, Any]:
    """A configuration by dotted name; `partial` trains the last six units."""
    own = {"freeze_depth": max(1, units - 6)} if strategy == "partial" else {}
    steps = {"probe_learning_rate": 3e-3} if strategy == "lp_ft" and STARTS[start] is _STEPS else {}
    values = {**_SHARED, **_STRATEGIES[strategy], **STARTS[start], **own, **steps}
    depths = plan_trial(create_config(values), units).config.head.depths
    return {**values, "head.depths": depths}


def train(setting: Setting, seeds: Sequence[int]) -> dict[tuple[str, str], list[Trained]]:
    """Every strategy from every start, once a seed."""
    found: dict[tuple[str, str], list[Trained]] = defaultdict(list)
    for seed in seeds:
        with harness.scratch_folder() as folder:
            dataset = setting.dataset(folder, seed)
            task, test = setting.task(dataset), dataset.open_test()
        units = len(task.backbones.pretrained.units)
        for strategy in _STRATEGIES:
            for start in STARTS:
                began = time.process_time()
                accuracy = test_accuracy(configuration(strategy, start, units), task, test, seed)
                found[strategy, start].append(Trained(accuracy, time.process_time() - began))
    return found


def add(report: Report, heading: str, found: Mapping[tuple[str, str], Sequence[Trained]]) -> None:
    """A table with a row for each strategy and start."""
    table = report.table(heading, *COLUMNS)
    for (strategy, start), results in found.items():
        first = found[strategy, next(iter(STARTS))]
        gains = [ours.accuracy - theirs.accuracy for ours, theirs in zip(results, first, strict=True)]
        ratios = [ours.seconds / theirs.seconds for ours, theirs in zip(results, first, strict=True)]
        table.add(
            *(strategy, start, f"{statistics.mean(each.accuracy for each in results):.1f}"),
            interval(gains) if results is not first else "",
            f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]" if results is not first else "",
            len(results),
        )


def measure(settings: Sequence[Setting], seeds: Sequence[int]) -> Report:
    """A table over all pairs, and one a pair."""
    report = Report("starting_heads", "Fine-tuning from a solved head on several units is better.", settings[0])
    whole: dict[tuple[str, str], list[Trained]] = defaultdict(list)
    parts = {}
    for setting in settings:
        part = f"{Path(setting.data).name}, {setting.backbone}, {setting.image_size} px"
        parts[part] = train(setting, seeds)
        for key, results in parts[part].items():
            whole[key] += results
        means = (statistics.mean(each.accuracy for each in results) for results in parts[part].values())
        print(part, *(f"{mean:.1f}" for mean in means), flush=True)
    for heading, found in ({"All pairs": whole} | parts).items():
        add(report, heading, found)
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--seeds", type=int, default=3, help="of each training (%(default)s)")
    options.set_defaults(threads=1)
    arguments: argparse.Namespace = options.parse_args()
    # As a search does.
    keep_freed_memory()
    chosen = harness.setting(arguments)
    settings = [chosen.elsewhere(data, backbone, weights, SIDE) for data, backbone, weights in PAIRS]
    seeds = range(1, 1 + (2 if arguments.quick else arguments.seeds))
    harness.finish(measure(settings[:1] if arguments.quick else settings, seeds), arguments)


if __name__ == "__main__":
    main()
