"""What a model stock gains in test accuracy on the networks that it is made of.

    python benchmarks/stock_gain.py --keep                  # 10 minutes on one core

A stock of three fine-tuned networks (`full`, batch norms with their pretrained statistics) is compared with their mean
accuracy, and with the one of them that validates best, which would be shipped without it. Each seed divides training
and validation images anew. A search ships a stock only where it validates better than each of its networks.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting
from benchmarks.paired_scores import interval, scored_settings
from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.data import ImageSplit
from frostline.objectives.finetune import Task, finetune, predict
from frostline.objectives.heap import keep_freed_memory
from frostline.objectives.metrics import score
from frostline.objectives.networks import Network, head_for, model_stock
from frostline.objectives.strategies import head_phase

NETWORKS = 3
CONFIG = {"strategy": "full", "epochs": 6, "batch_norm": "eval"}
COLUMNS = ("dataset", "network", "single, %", "stock, %", "gain on their mean, points", "on the best, points", "seeds")


class Found(NamedTuple):
    """Test accuracies, %: of the stock, the mean of its networks, and of the one that validates best."""

    stock: float
    mean: float
    best: float


def compare(config: TrialConfig, task: Task, test: ImageSplit, seed: int) -> Found:
    """Train the networks, and make a stock of them."""
    units, backbone = len(task.backbones.pretrained.units), task.backbones.fresh(pretrained=True, seed=0)
    body = backbone.prefix(units)
    pretrained = _named("backbone.", body.state_dict())
    accuracies, val_scores, tuned = [], [], []
    for number in range(NETWORKS):
        result = finetune(config, task, seed=NETWORKS * seed + number)
        accuracies.append(_accuracy(result.network, test, task))
        val_scores.append(result.score)
        states = (("backbone.", result.network.backbone_state()), ("head.", result.network.head.state_dict()))
        tuned.append({name: value for prefix, state in states for name, value in _named(prefix, state).items()})
    merged = model_stock(pretrained, tuned)
    assert merged is not None
    backbone = task.backbones.fresh(pretrained=True, seed=0)
    body, head = backbone.prefix(units), head_for(backbone, config.head, len(task.train.classes))
    for prefix, module in (("backbone.", body), ("head.", head)):
        module.load_state_dict(
            {name.removeprefix(prefix): each for name, each in merged.items() if name.startswith(prefix)}
        )
    network = Network(backbone, head_phase("stock", units, 1, 0.0), head).eval()
    best = accuracies[val_scores.index(max(val_scores))]
    return Found(_accuracy(network, test, task), statistics.mean(accuracies), best)


def _named(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value.cpu().clone() for name, value in state.items()}


def _accuracy(network: Network, test: ImageSplit, task: Task) -> float:
    return 100 * score("accuracy", predict(network, test, task), test.labels)


def measure(settings: Sequence[Setting], seeds: int) -> Report:
    """A row a dataset and network."""
    report = Report("stock_gain", "What a model stock gains on the networks that it is made of.", settings[0])
    table = report.table("Test accuracy", *COLUMNS)
    for own in settings:
        found = []
        for seed in range(seeds):
            with harness.scratch_folder() as folder:
                dataset = own.dataset(folder, seed)
                found.append(compare(create_config(CONFIG), own.task(dataset), dataset.open_test(), seed))
        table.add(
            *(Path(own.data).name, f"{own.backbone}, {own.image_size} px"),
            *(f"{statistics.mean(each):.2f}" for each in ([one.mean for one in found], [one.stock for one in found])),
            *(interval([one.stock - one.mean for one in found]), interval([one.stock - one.best for one in found])),
            seeds,
        )
        print("\t".join(table.rows[-1]), flush=True)
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--seeds", type=int, default=5, help="of each stock (%(default)s)")
    options.set_defaults(threads=1)
    arguments: argparse.Namespace = options.parse_args()
    keep_freed_memory()
    harness.finish(
        measure(scored_settings(harness.setting(arguments)), 2 if arguments.quick else arguments.seeds), arguments
    )


if __name__ == "__main__":
    main()
