"""How cost grows: with images, with trials, with the units of a network.

    python benchmarks/speed_scaling.py --keep      # about half an hour on two cores, most of it 500 trials

Images: extraction and head-only trials on random images. Trials: a study whose training costs nothing, so that
sampler, storage and tracking are left, beside Optuna alone (TPE, the same space, in memory). Units: networks of
several lengths, to the first step of training.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting
from benchmarks.speed_bare_optuna import Clock, default_config
from frostline.objectives.backbones import preprocessing_for
from frostline.objectives.config import BackboneSpec, TrialConfig
from frostline.objectives.data import ImageSplit
from frostline.objectives.devices import choose_device
from frostline.objectives.epochs import EpochResult, OnEpoch
from frostline.objectives.finetune import FinetuneResult, Task, check_trainable, finetune
from frostline.objectives.networks import BackbonePool
from frostline.objectives.training import CheckpointStore
from frostline.search.execution import logged_training, run_search
from frostline.search.space import COMPETING, create_space, default_tables, resolve_space
from frostline.storage.workspace import Workspace

CLASSES = tuple("abcde")


def random_task(setting: Setting, images: int, val: int = 50) -> Task:
    """A task of random images with random labels in memory."""
    preprocessing = preprocessing_for(setting.backbone, setting.weights, setting.image_size)
    rng = np.random.default_rng(0)
    side = preprocessing.canvas_size

    def split(count: int, name: str) -> ImageSplit:
        canvas = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % len(CLASSES)
        return ImageSplit(canvas, np.arange(count), labels, CLASSES, preprocessing, f"{name}-{count}")

    device = choose_device(setting.device)
    return harness.create_task(split(images, "train"), split(val, "val"), BackbonePool(setting.spec), device)


def measure_images(report: Report, setting: Setting, counts: Sequence[int]) -> None:
    """Seconds of the first head-only trial and of the next, by number of images."""
    table = report.table("Images", "images", "first head-only trial, s", "next, s", "next, µs an image and epoch")
    for count in counts:
        task = random_task(setting, count)
        config = default_config(task, "feature_extraction", epochs=10)
        first = harness.seconds(lambda config=config, task=task: finetune(config, task, seed=0), task.device)
        again = [
            harness.seconds(lambda config=config, task=task: finetune(config, task, seed=0), task.device)
            for _ in range(setting.pairs)
        ]
        each = [1e6 * second / count / config.epochs for second in again]
        table.add(count, f"{first:.2f}", harness.spread(again), harness.spread(each))


class FreeTraining:
    """Stands in for `finetune`: one real result again and again, with other scores, for no time."""

    def __init__(self) -> None:
        self._result: FinetuneResult | None = None
        self._rng = np.random.default_rng(0)

    def __call__(
        self,
        config: TrialConfig,
        task: Task,
        *,
        seed: int,
        on_epoch: OnEpoch = lambda result: None,
        checkpoints: CheckpointStore | None = None,
    ) -> FinetuneResult:
        if self._result is None:
            self._result = finetune(default_config(task, "feature_extraction", epochs=1), task, seed=0)
        score = float(self._rng.uniform(0.3, 0.9))
        for number in range(3):
            on_epoch(EpochResult(number, "free", 1.0, 1.0, score, {"head": config.learning_rate}, 0.0))
        return replace(self._result, score=score)


@contextmanager
def free_training() -> Iterator[None]:
    """Trials and finals cost nothing within, but for the first."""
    with mock.patch.object(logged_training, "finetune", FreeTraining()):
        yield


def measure_trials(report: Report, setting: Setting, counts: Sequence[int]) -> None:
    """Milliseconds a trial of a study of so many, of Optuna alone too, and of the study's last tenth."""
    columns = ("ms a trial", "of the last tenth", "all, s", "Optuna alone: ms a trial", "of the last tenth ")
    table = report.table("Trials", "trials", *columns)
    for count in counts:
        with free_training(), harness.scratch_folder() as folder:
            clock = Clock()
            request = setting.request(trials=count, finals_seeds=1, candidates=1, name="scaling", metric="accuracy")
            run_search(request, Workspace(folder), clock)
        ours = _gaps([end for end, _ in clock.ended])
        alone = _gaps(optuna_alone(setting, count))
        table.add(count, *_milliseconds(ours), f"{sum(ours):.1f}", *_milliseconds(alone))


def _gaps(ends: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(ends)]


def _milliseconds(gaps: list[float]) -> tuple[str, str]:
    last = gaps[-max(1, len(gaps) // 10) :]
    return f"{1000 * statistics.mean(gaps):.1f}", f"{1000 * statistics.mean(last):.1f}"


def optuna_alone(setting: Setting, count: int) -> list[float]:
    """When each trial of Optuna's own sampler and pruner in memory ends, on the same space."""
    units = len(BackbonePool(setting.spec).pretrained.units)
    space = resolve_space(create_space(default_tables()).only(COMPETING), units)
    rng = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    ends: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        space.suggest(trial, trial.suggest_categorical("strategy", list(COMPETING)))
        score = float(rng.uniform(0.3, 0.9))
        for number in range(3):
            trial.report(score, number)
            trial.should_prune()
        ends.append(time.perf_counter())
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study.optimize(objective, n_trials=count)
    return ends


def measure_units(report: Report, setting: Setting, networks: Sequence[str]) -> None:
    """Seconds to build and cut networks, and of trials of one step, by number of units."""
    columns = (
        "units",
        "parameters, M",
        "build and cut, s",
        "check a plan, s",
        "head-only trial of a step, s",
        "full, s",
    )
    table = report.table("Units", "network", *columns)
    for name in networks:
        chosen = replace(setting, backbone=name, weights="none")
        started = time.perf_counter()
        pool = BackbonePool(BackboneSpec(name, "none", chosen.image_size))
        built = time.perf_counter() - started
        task = replace(random_task(chosen, 10, 5), backbones=pool)
        one_step: dict[str, Any] = {"epochs": 1, "batch_size": 16}
        configs = [default_config(task, strategy, **one_step) for strategy in ("feature_extraction", "full")]
        check = harness.seconds(lambda config=configs[0], pool=pool: check_trainable(config, pool))
        steps = [
            [harness.seconds(lambda config=config, task=task: finetune(config, task, seed=0)) for _ in range(3)]
            for config in configs
        ]
        parameters = sum(unit.parameters for unit in pool.pretrained.units) / 1e6
        shape = (len(pool.pretrained.units), f"{parameters:.1f}", f"{built:.2f}", f"{check:.3f}")
        table.add(name, *shape, *map(harness.spread, steps))


def measure(
    setting: Setting,
    *,
    images: Sequence[int] = (250, 1000, 4000),
    trials: Sequence[int] = (10, 100, 500),
    networks: Sequence[str] = ("resnet18", "mobilenet_v2", "resnet50", "resnet101"),
) -> Report:
    """All three.

    Args:
        setting: On what.
        images: Numbers of them.
        trials: Of studies.
        networks: Names, of random weights.
    """
    report = Report("speed_scaling", "How cost grows with images, trials and units.", setting)
    measure_images(report, setting, images)
    measure_trials(report, setting, trials)
    measure_units(report, setting, networks)
    report.notes += [
        "Trials: three epochs reported in each, five strategies, random scores; ours has databases on disk, MLflow "
        "and its own sampler (a model for each strategy), Optuna alone has neither.",
        "The first trial of a head-only pair extracts the features that the next finds.",
    ]
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--trials", default="10,100,500", help="of studies, with commas between them")
    arguments = options.parse_args()
    setting = harness.setting(arguments)
    counts = [int(count) for count in arguments.trials.split(",")]
    if arguments.quick:
        report = measure(setting, images=(20, 40), trials=(6,), networks=("resnet18",))
    else:
        report = measure(setting, trials=counts)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
