"""What a step costs beside the arithmetic that it cannot do without.

    python benchmarks/speed_suffix.py --keep      # some minutes on two cores

Partial freezing: the training epochs of a trial whose features are there, against a loop of forward, backward and
optimizer step of the same units and head on one resident random tensor of the cut's shape, the same batch sizes and
as many steps. Full fine-tuning: against a loop on all images, resident and normalized, shuffled every epoch.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import bare, harness
from benchmarks.harness import Report, Setting, Target, at_most
from benchmarks.speed_bare_optuna import default_config, depths
from frostline.objectives.augmentation import AugmentedViews
from frostline.objectives.config import TrialConfig
from frostline.objectives.data import ImageSplit
from frostline.objectives.devices import autocast, usual_precision
from frostline.objectives.features import ImageSource
from frostline.objectives.finetune import Task, finetune
from frostline.objectives.networks import BackbonePool, create_head
from frostline.objectives.training import batches_per_epoch

COLUMNS = (
    *("trial", "units frozen", "epoch, s", "bound, s", "times the bound: median [lowest, highest]"),
    *("n", "target", "met"),
)
Batches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]


def small_validation(task: Task) -> Task:
    """The task with one validation image: an epoch is then training alone."""
    val: ImageSplit = task.val
    one = np.arange(1)
    split = replace(val, indices=val.indices[one], labels=val.labels[one], fingerprint=f"{val.fingerprint}/one")
    return replace(task, val=split)


def epoch_seconds(config: TrialConfig, task: Task) -> float:
    """Seconds of a trial's epochs after the first, which makes what is missing; mean."""
    epochs = finetune(config, task, seed=0).epochs[1:]
    return sum(epoch.seconds for epoch in epochs) / len(epochs)


def bound_seconds(
    config: TrialConfig, task: Task, pool: BackbonePool, depth: int, batches: Batches, epochs: int
) -> float:
    """Seconds of an epoch of a bare loop over batches of inputs and labels; mean after a first epoch."""
    return statistics.mean(loop_seconds(config, task, pool, depth, batches, epochs)[1:])


def loop_seconds(
    config: TrialConfig,
    task: Task,
    pool: BackbonePool,
    depth: int,
    batches: Batches,
    epochs: int,
    *,
    compiled: bool = False,
) -> list[float]:
    """Seconds of each epoch of a bare loop over batches of inputs and labels, after a first epoch that comes too."""
    backbone = pool.fresh(pretrained=True, seed=0)
    backbone.to(task.device)
    torch.manual_seed(0)
    head = create_head(config.head, backbone.units[-1].output_shape, len(task.train.classes))
    net = bare.BareNet(backbone, depth, head, config.batch_norm).to(task.device)
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    rate = config.learning_rate
    optimizer = bare.create_optimizer(config, net.head, net.body, rate, rate * config.backbone_lr_ratio)
    net.train()
    body = torch.compile(net.body) if compiled else net.body
    measured = []
    for epoch in range(epochs + 1):
        started = time.perf_counter()
        for inputs, labels in batches(epoch):
            with autocast(task.device, usual_precision(task.device)):
                logits = net.head(body(inputs))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
        harness.synchronize(task.device)
        measured.append(time.perf_counter() - started)
    return measured


def _sizes(config: TrialConfig, images: int) -> list[int]:
    return [len(part) for part in torch.arange(images).tensor_split(batches_per_epoch(images, config.batch_size))]


def random_batches(config: TrialConfig, task: Task, shape: tuple[int, ...]) -> Batches:
    """One resident random tensor, as many times as there are steps, in the sizes that batches have."""
    sizes = _sizes(config, len(task.train))
    inputs = torch.randn(max(sizes), *shape, device=task.device)
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(len(task.train.classes), (max(sizes),), device=task.device)
    return lambda epoch: ((inputs[:size], labels[:size]) for size in sizes)


def resident_batches(config: TrialConfig, task: Task) -> Batches:
    """All training images normalized in memory, in a new order every epoch."""
    source = ImageSource(task.train, task.device)
    views = AugmentedViews("none", 1, task.train.preprocessing, len(task.train), 0)
    chunks = torch.arange(len(task.train)).split(256)
    images = torch.cat([views.apply(source.batch(chunk), chunk, 0) for chunk in chunks])
    images = images.contiguous(memory_format=torch.channels_last)

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(images), device=images.device)
        for part in order.tensor_split(batches_per_epoch(len(images), config.batch_size)):
            yield images[part], source.labels[part]

    return batches


def measure(setting: Setting, *, epochs: int = 3, shares: tuple[float, ...] = (0.25, 0.5, 0.75, 0.9)) -> Report:
    """Both comparisons.

    Args:
        setting: On what.
        epochs: Measured in each run, after a first one.
        shares: Of the forward operations, frozen.
    """
    report = Report("speed_suffix", "A training epoch against the arithmetic it cannot do without.", setting)
    with harness.scratch_folder() as folder:
        task = small_validation(setting.task(setting.dataset(folder)))
    pool = BackbonePool(setting.spec)
    units = task.backbones.pretrained.units
    for depth in depths(task.backbones.pretrained, shares):
        config = default_config(task, "partial", freeze_depth=depth, **_plain(epochs))
        batches = random_batches(config, task, units[depth - 1].output_shape)
        _compare(report, config, task, pool, depth, batches, at_most(1.15), epochs)
    config = default_config(task, "full", **_plain(epochs))
    _compare(report, config, task, pool, 0, resident_batches(config, task), at_most(1.02), epochs)
    report.notes.append(
        "Epochs without augmentation, after the first, with one validation image; what is left above 1 is drawing the "
        "order, picking the batch, (full) cutting and normalizing the images, the schedule, and the epoch's validation "
        "and copy of the weights."
    )
    return report


def _plain(epochs: int) -> dict[str, Any]:
    return {"epochs": epochs + 1, "augmentation": "none"}


def _compare(
    report: Report,
    config: TrialConfig,
    task: Task,
    pool: BackbonePool,
    depth: int,
    batches: Batches,
    target: Target,
    epochs: int,
) -> None:
    pairs = harness.alternate(
        lambda: epoch_seconds(config, task),
        lambda: bound_seconds(config, task, pool, depth, batches, epochs),
        report.setting.pairs,
    )
    slower = pairs.slower
    report.table("Epochs", *COLUMNS).add(
        *(config.strategy, f"{depth} of {len(pool.pretrained.units)}"),
        *(harness.spread(pairs.ours), harness.spread(pairs.rival), harness.spread(slower)),
        *(len(slower), target, target.judge(slower)),
    )


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--epochs", type=int, default=3, help="measured in each run (%(default)s)")
    arguments = options.parse_args()
    quick = arguments.quick
    shares = (0.5,) if quick else (0.25, 0.5, 0.75, 0.9)
    report = measure(harness.setting(arguments), epochs=1 if quick else arguments.epochs, shares=shares)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
