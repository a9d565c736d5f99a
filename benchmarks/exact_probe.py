"""What the solved head gains by its standardization and by how its regularization strength is chosen, on new images.

    python benchmarks/exact_probe.py --keep                     # half an hour on one core
    python benchmarks/exact_probe.py --draws 2                  # shorter

Training and validation images (a quarter as many) are drawn from all images of a dataset, stratified, again and again;
up to 800 of the others are the test images. "Before" is what the solved head did until this benchmark: features
standardized each by itself, and the strength with the best validation score, then log loss. Intervals (95 %) are over
draws, whose images overlap, so they are somewhat too short.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import SHARED, Report, Setting
from benchmarks.paired_scores import interval
from frostline.objectives.config import create_config
from frostline.objectives.finetune import phase_data
from frostline.objectives.logistic_regression import (
    choose_strength,
    regularization_path,
    standardization,
)
from frostline.objectives.metrics import score
from frostline.objectives.networks import Network, head_for
from frostline.objectives.strategies import plan_phases
from frostline.objectives.training.solved_heads import pooled_features

DATASETS = ("garments_small", "flowers", "blood_cells", "clothing", "eurosat")
# Backbones with their weights and image sizes.
BACKBONES = {
    "squeezenet1_1": ("squeezenet1_1_imagenet", 64),
    "mobilenet_v2": ("mobilenet_v2_imagenet", 96),
    "shufflenet_v2_x0_5": ("shufflenet_v2_x0_5_backbone", 64),
}
SIZES = (80, 160, 400)
LARGEST_TEST = 800
# Share of the images that must be left for the test.
LEAST_TEST = 0.25
BEFORE, NOW = "before", "now"

Images = tuple[NDArray[np.float64], NDArray[np.int64]]
Probabilities = NDArray[np.float64]
Predict = Callable[[NDArray[np.float64]], Probabilities]


class Drawn(NamedTuple):
    """Features (N, D) and labels (N,) of one draw."""

    train: Images
    val: Images
    test: Images


class Found(NamedTuple):
    """What one way came to on one draw: test accuracy, test log loss, and validation minus test accuracy."""

    accuracy: float
    log_loss: float
    optimism: float


def every_setting(chosen: Setting) -> list[Setting]:
    """All datasets with all networks."""
    return [
        chosen.elsewhere(dataset, backbone, weights, pixels)
        for backbone, (weights, pixels) in BACKBONES.items()
        for dataset in DATASETS
    ]


def all_features(setting: Setting, depths: int = 1) -> Images:
    """Pooled pretrained features of every image of a dataset, and the labels.

    Args:
        setting: Dataset and network.
        depths: Number of last units whose features they are, the earliest first.
    """
    with harness.scratch_folder() as folder:
        dataset = setting.dataset(folder)
        task = setting.task(dataset)
        splits = (*dataset.search_splits(), dataset.open_test())
        config = create_config({"strategy": "linear_probe_exact", "head.depths": depths})
        backbone = task.backbones.fresh(pretrained=True, seed=0).with_depths(depths)
        head = head_for(backbone, config.head, len(task.train.classes))
        network = Network(backbone, plan_phases(config, len(backbone.units))[0], head)
        sources = [phase_data(network, config, replace(task, val=split), 0).val for split in splits]
        features = np.concatenate([pooled_features(network, source).numpy() for source in sources])
    return features, np.concatenate([split.labels for split in splits])


def fits(size: int, images: Images) -> bool:
    """Whether enough images are left for the test of so many training images."""
    return size + size // 4 <= (1 - LEAST_TEST) * len(images[1])


def draws(images: Images, size: int, count: int) -> Iterator[Drawn]:
    """Stratified draws of so many training images."""
    features, labels = images
    for seed in range(count):
        train, rest = train_test_split(np.arange(len(labels)), train_size=size, stratify=labels, random_state=seed)
        val, test = train_test_split(rest, train_size=size // 4, stratify=labels[rest], random_state=seed)
        yield Drawn(*((features[rows], labels[rows]) for rows in (train, val, test[:LARGEST_TEST])))


def each_by_itself(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-8)


def our_ways(drawn: Drawn) -> dict[str, Predict]:
    """Both standardizations, each with the strength chosen on validation images or by cross-validation."""
    features, labels = (torch.tensor(each) for each in drawn.train)
    classes = int(labels.max()) + 1
    ways: dict[str, Predict] = {}
    for standardize, names in (
        (each_by_itself, (BEFORE, "before, but cross-validated")),
        (standardization, ("now, but by validation score", NOW)),
    ):
        mean, deviation = standardize(features)
        standard = (features - mean) / deviation
        path = [_predictor(each, mean, deviation) for each in regularization_path(standard, labels, classes)]
        best = max(path, key=lambda predict: _validation_quality(predict, drawn))
        ways |= dict(zip(names, (best, path[choose_strength(standard, labels, classes)]), strict=True))
    return ways


def _predictor(solution: tuple[Tensor, Tensor], mean: Tensor, deviation: Tensor) -> Predict:
    weight, bias = solution

    def predict(features: NDArray[np.float64]) -> Probabilities:
        standard = (torch.tensor(features) - mean) / deviation
        return (standard @ weight.T + bias).softmax(dim=1).numpy()

    return predict


def _validation_quality(predict: Predict, drawn: Drawn) -> tuple[float, float]:
    features, labels = drawn.val
    probabilities = predict(features)
    return score("accuracy", probabilities, labels), -score("log_loss", probabilities, labels)


def scikit_learn(drawn: Drawn) -> Predict:
    """What is usually written: a standardized logistic regression with the default strength of 1."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(*drawn.train).predict_proba


def judge(predict: Predict, drawn: Drawn) -> Found:
    val, test = (predict(features) for features in (drawn.val[0], drawn.test[0]))
    accuracy = score("accuracy", test, drawn.test[1])
    return Found(accuracy, score("log_loss", test, drawn.test[1]), score("accuracy", val, drawn.val[1]) - accuracy)


def compare(images: Images, sizes: Sequence[int], count: int) -> dict[str, list[Found]]:
    """Every way on every draw of a dataset."""
    found: dict[str, list[Found]] = defaultdict(list)
    for size in sizes:
        for drawn in draws(images, size, count) if fits(size, images) else ():
            for name, predict in {**our_ways(drawn), "scikit-learn, C = 1": scikit_learn(drawn)}.items():
                found[name].append(judge(predict, drawn))
    return found


def add(report: Report, heading: str, found: Mapping[str, Sequence[Found]]) -> None:
    """A table with a row a way."""
    columns = ("way", "test accuracy, %", "gained on before, points", "log loss", "validation - test, points", "draws")
    table = report.table(heading, *columns)
    for name, results in found.items():
        gains = [100 * (one.accuracy - other.accuracy) for one, other in zip(results, found[BEFORE], strict=True)]
        table.add(
            name,
            f"{100 * statistics.mean(each.accuracy for each in results):.1f}",
            interval(gains),
            f"{statistics.mean(each.log_loss for each in results):.3f}",
            f"{100 * statistics.mean(each.optimism for each in results):+.1f}",
            len(results),
        )


def measure(settings: Sequence[Setting], sizes: Sequence[int], count: int) -> Report:
    """All datasets and backbones, each with a table, and one over all."""
    claim = "A head that is solved with shrunken variances and a cross-validated strength is better on new images."
    report = Report("exact_probe", claim, settings[0])
    overall: dict[str, list[Found]] = defaultdict(list)
    parts = {}
    for setting in settings:
        name = f"{Path(setting.data).name}, {setting.backbone}, {setting.image_size} px"
        parts[name] = compare(all_features(setting), sizes, count)
        for way, results in parts[name].items():
            overall[way] += results
        print(name, flush=True)
    add(report, "All", overall)
    for name, found in parts.items():
        add(report, name, found)
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--draws", type=int, default=10, help="of each number of training images (%(default)s)")
    options.set_defaults(data=str(SHARED / "data/flowers"), threads=1)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    harness.finish(measure(every_setting(chosen), SIZES, arguments.draws), arguments)


if __name__ == "__main__":
    main()
