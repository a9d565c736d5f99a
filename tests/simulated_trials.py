"""Recordings with known truth: simulated arms, from what a trial costs to how its validation score comes about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.arms import Arms, arms_of
from benchmarks.recordings import Cell, Floats, RecordedTrial, Recording, trial_of


@dataclass(frozen=True)
class SimulatedArm:
    """A strategy with known truth.

    Attributes:
        strategy: Name of the strategy.
        peak: Expected accuracy of its best configuration.
        spread: By how much the worst configuration is worse.
        shape: Power of the tuning curve: the higher, the more configurations are nearly the best.
        epoch_seconds: Seconds of an epoch with cached views.
        epochs: Number of epochs of a trial.
        speed: Share of the distance to its final accuracy that an epoch covers.
        view_seconds: Seconds to compute its one view, which all arms with views share.
    """

    strategy: str
    peak: float
    spread: float = 0.2
    shape: float = 2.0
    epoch_seconds: float = 0.5
    epochs: int = 12
    speed: float = 0.4
    view_seconds: float = 0.0


def simulate(
    arms: Sequence[SimulatedArm],
    *,
    configurations: int = 16,
    seeds: int = 3,
    val_images: int = 100,
    test_images: int = 240,
    seed: int = 0,
) -> tuple[Recording, dict[Cell, dict[int, float]]]:
    """Return a recording, and the expected accuracy of each cell's configurations by number.

    A configuration has a learning rate; the best one is drawn for each arm, and the default is near it. Accuracy rises
    from epoch to epoch, and an image that was answered right stays so: the scores of a trial's epochs go together.

    Args:
        arms: Strategies.
        configurations: Number of configurations of each.
        seeds: Number of trainings of each.
        val_images: Number of validation images: the fewer, the noisier are scores.
        test_images: Number of test images.
        seed: Seed of the simulation.
    """
    rng = np.random.default_rng(seed)
    trials, worths = [], {}
    for arm in arms:
        optimum = rng.uniform(0.3, 0.7)
        places = np.concatenate([[np.clip(optimum + rng.normal(0, 0.15), 0, 1)], rng.random(configurations - 1)])
        quality = arm.peak - arm.spread * (np.abs(places - optimum) / max(optimum, 1 - optimum)) ** arm.shape
        worths["simulated", "none", arm.strategy] = dict(enumerate(quality.tolist()))
        # Accuracies (E, C) of epochs and configurations, scores (E, C, S) of seeds.
        accuracies = np.outer(1 - 0.7 * (1 - arm.speed) ** np.arange(1, arm.epochs + 1), quality)
        accuracies[-1] = quality
        val, test = (_scores(accuracies, images, seeds, rng) for images in (val_images, test_images))
        rates = 10 ** (3 * places - 4)
        trials += [
            _trial(arm, number, each, rates[number], val[:, number, each], test[:, number, each], val_images)
            for number in range(configurations)
            for each in range(seeds)
        ]
    return Recording(tuple(trials), {}, {}, {}), worths


def _scores(accuracies: Floats, images: int, seeds: int, rng: np.random.Generator) -> Floats:
    """Return the scores (E, C, S): an image that is right stays right as the accuracy rises."""
    right = np.zeros((*accuracies.shape[1:], seeds), np.int64)
    before, scores = np.zeros(accuracies.shape[1]), []
    for after in accuracies:
        share = np.clip((after - before) / (1 - before), 0, 1)
        right = right + rng.binomial(images - right, share[:, None])
        before = after
        scores.append(right / images)
    return np.stack(scores)


def simulated_arms(arms: Sequence[SimulatedArm], **settings: int) -> Arms:
    """Return what a replay searches in a simulated recording; arguments as in :func:`simulate`."""
    recording, worths = simulate(arms, **settings)
    return arms_of(recording, [arm.strategy for arm in arms], worths=worths)[0]


def _trial(
    arm: SimulatedArm, number: int, seed: int, rate: float, val: Floats, test: Floats, val_images: int
) -> RecordedTrial:
    costs = np.full(arm.epochs, arm.epoch_seconds)
    features = np.zeros(arm.epochs)
    views = ["view"] if arm.view_seconds else []
    ones = np.ones(arm.epochs)
    return trial_of(
        {
            **{"dataset": "simulated", "backbone": "none", "strategy": arm.strategy, "number": number, "seed": seed},
            **{
                "config": {"learning_rate": float(rate), "epochs": arm.epochs},
                "state": "complete",
                "session": "",
                "stage": "",
            },
            **{"phases": ["training"] * arm.epochs, "train_loss": ones, "val_score": val, "val_loss": 1 - val},
            **{"test_score": test, "test_loss": 1 - test, "seconds": costs, "process_seconds": costs},
            **{"feature_seconds": features, "best_epoch": int(val.argmax()), "val_predictions": [0] * val_images},
            **{"test_predictions": [], "setup_seconds": 0.0, "other_seconds": 0.0, "wall_seconds": costs.sum()},
            **{"frozen_operations": 0.0, "trainable_parameters": 1, "views": views},
            **{"view_epochs": [0] * len(views), "view_seconds": [arm.view_seconds] * len(views)},
        }
    )
