"""Test scores of two ways of training, paired by seed, on real datasets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from benchmarks.harness import Setting
from frostline.objectives.config import create_config
from frostline.objectives.data import ImageSplit
from frostline.objectives.finetune import Task, finetune, predict
from frostline.objectives.metrics import score

# Datasets with networks and image sizes.
SCORED = (("garments_small", "squeezenet1_1", 64), ("flowers", "mobilenet_v2", 64))


def scored_settings(setting: Setting) -> list[Setting]:
    """The datasets and networks of which scores are compared."""
    return [setting.elsewhere(data, backbone, f"{backbone}_imagenet", side) for data, backbone, side in SCORED]


def test_accuracy(values: Mapping[str, Any], task: Task, test: ImageSplit, seed: int) -> float:
    """Accuracy on test images, %, after a training.

    Args:
        values: Configuration by dotted name.
        task: Task of the training.
        test: Test images.
        seed: Seed of the training.
    """
    network = finetune(create_config(dict(values)), task, seed=seed).network
    return 100 * score("accuracy", predict(network, test, task), test.labels)


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean (Student's t)."""
    return float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5


def interval(values: Sequence[float]) -> str:
    """Mean of paired differences with its 95 % interval.

    >>> from benchmarks.paired_scores import interval
    >>> interval([1.0, 3.0])
    '+2.00 ± 12.71'
    """
    return f"{statistics.mean(values):+.2f} ± {half_width(values):.2f}"
