"""How many of the last units a solved head should see, by test accuracy on real datasets.

    python benchmarks/head_depths.py --keep                  # 10 minutes on one core
    python benchmarks/head_depths.py --draws 1

The head that is solved (`linear_probe_exact`) sees the pooled features of 1, 2, 3, ... last units side by side; all see
the same draws of images. Draws, datasets and networks are those of exact_probe.py. Gains are beside one unit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.exact_probe import SIZES, Drawn, Images, all_features, draws, every_setting, fits
from benchmarks.harness import Report, Setting
from benchmarks.paired_scores import interval
from frostline.objectives.backbones import create_backbone
from frostline.objectives.config import HeadConfig
from frostline.objectives.logistic_regression import solve_probe
from frostline.objectives.metrics import score
from frostline.objectives.networks import head_for

DEPTHS = (1, 2, 4, 8, 12, 16)
COLUMNS = ("units", "features", "test accuracy, %", "gained on 1 unit, points", "log loss", "seconds", "draws")


class Found(NamedTuple):
    """What a head came to on one draw: features it sees, test accuracy, test log loss, and its seconds."""

    features: int
    accuracy: float
    log_loss: float
    seconds: float


def deep_features(setting: Setting) -> tuple[Images, dict[int, int]]:
    """Pooled pretrained features of every image, earliest unit first, and how many of the last ones each head sees."""
    backbone = create_backbone(setting.spec, pretrained=False)
    # As many as there are, as in a search.
    seen = {depths: min(depths, len(backbone.units)) for depths in DEPTHS}
    heads = {depths: head_for(backbone.with_depths(units), HeadConfig(), 2) for depths, units in seen.items()}
    widths = {depths: head[-1].get_parameter("weight").shape[1] for depths, head in heads.items()}
    return all_features(setting, seen[DEPTHS[-1]]), widths


def judge(drawn: Drawn, width: int) -> Found:
    """Solve a head on the last ``width`` features."""
    features, labels = (torch.tensor(each) for each in drawn.train)
    started = time.perf_counter()
    weight, bias = solve_probe(features[:, -width:], labels, int(labels.max()) + 1)
    seconds = time.perf_counter() - started
    unseen = torch.tensor(drawn.test[0][:, -width:])
    probabilities = (unseen @ weight.T + bias).softmax(dim=1).numpy()
    accuracy, log_loss = (score(metric, probabilities, drawn.test[1]) for metric in ("accuracy", "log_loss"))
    return Found(width, accuracy, log_loss, seconds)


def compare(setting: Setting, sizes: Sequence[int], count: int) -> dict[int, list[Found]]:
    """Every number of units on every draw of a dataset."""
    images, widths = deep_features(setting)
    found: dict[int, list[Found]] = defaultdict(list)
    for size in sizes:
        for drawn in draws(images, size, count) if fits(size, images) else ():
            for depths, width in widths.items():
                found[depths].append(judge(drawn, width))
    return found


def add(report: Report, heading: str, found: Mapping[int, Sequence[Found]]) -> None:
    """A table with a row a number of units."""
    table = report.table(heading, *COLUMNS)
    for depths, results in found.items():
        gains = [100 * (one.accuracy - other.accuracy) for one, other in zip(results, found[1], strict=True)]
        widths = sorted({each.features for each in results})
        table.add(
            depths,
            str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}",
            f"{100 * statistics.mean(each.accuracy for each in results):.1f}",
            interval(gains) if depths > 1 else "",
            f"{statistics.mean(each.log_loss for each in results):.3f}",
            f"{statistics.median(each.seconds for each in results):.2f}",
            len(results),
        )


def measure(settings: Sequence[Setting], sizes: Sequence[int], count: int) -> Report:
    """A table over all, one a network, and one a dataset and network."""
    report = Report("head_depths", "A solved head is better on new images if it sees several units.", settings[0])
    tables: dict[str, dict[int, list[Found]]] = {"All": defaultdict(list)}
    parts = {}
    for setting in settings:
        part = f"{Path(setting.data).name}, {setting.backbone}, {setting.image_size} px"
        parts[part] = compare(setting, sizes, count)
        for whole in ("All", f"All, {setting.backbone}"):
            for depths, results in parts[part].items():
                tables.setdefault(whole, defaultdict(list))[depths] += results
        means = (statistics.mean(100 * each.accuracy for each in results) for results in parts[part].values())
        print(part, *(f"{mean:.1f}" for mean in means), sep="\t", flush=True)
    for heading, found in (tables | parts).items():
        add(report, heading, found)
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--draws", type=int, default=3, help="of each number of training images (%(default)s)")
    options.set_defaults(threads=1)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    settings = every_setting(chosen)
    measured = (settings[:1], SIZES[:1], 2) if arguments.quick else (settings, SIZES, arguments.draws)
    harness.finish(measure(*measured), arguments)


if __name__ == "__main__":
    main()
