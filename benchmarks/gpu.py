"""The benchmarks on a CUDA device, and images a second of full fine-tuning against a bare loop there.

    python benchmarks/gpu.py --keep                          # under half an hour
    python benchmarks/gpu.py --device cpu --quick            # does it run

The bare loop has one resident synthetic batch, bfloat16 autocast and channels-last: nothing is left to leave out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness, precision, speed_bare_optuna, speed_overhead, speed_scaling, speed_suffix
from benchmarks.harness import Report, Setting, at_least
from frostline.objectives.devices import choose_device
from frostline.objectives.networks import BackbonePool

PARTS = ("throughput", "precision", "bare", "suffix", "overhead", "scaling")


def require_device(name: str) -> None:
    """Refuse a device that is not here.

    Raises:
        SystemExit: Says what to type instead.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("No CUDA device here. To see whether it runs: python benchmarks/gpu.py --device cpu --quick")


def measure_throughput(report: Report, setting: Setting, *, images: int, batch_size: int, epochs: int) -> None:
    """Images a second of full fine-tuning on random images, ours and a bare loop's.

    Args:
        report: Gets a table.
        setting: Its backbone at its image size, random weights.
        images: Of an epoch.
        batch_size: Of a step.
        epochs: Measured in each run, after a first one.
    """
    task = speed_suffix.small_validation(speed_scaling.random_task(setting, images, 5))
    pool = BackbonePool(setting.spec)
    config = speed_bare_optuna.default_config(
        task, "full", epochs=epochs + 1, batch_size=batch_size, augmentation="none"
    )
    side = setting.image_size
    batches = speed_suffix.random_batches(config, task, (3, side, side))
    pairs = harness.alternate(
        lambda: speed_suffix.epoch_seconds(config, task),
        lambda: speed_suffix.bound_seconds(config, task, pool, 0, batches, epochs),
        setting.pairs,
    )
    target, share = at_least(0.9), pairs.faster
    columns = ("network", "batch", "ours, images/s", "bare loop, images/s", "ours / bare", "n", "target", "met")
    rates = [harness.spread([images / second for second in side]) for side in (pairs.ours, pairs.rival)]
    verdict = (harness.spread(share), len(share), target, target.judge(share))
    report.table("Full fine-tuning", *columns).add(f"{setting.backbone}, {side} px", batch_size, *rates, *verdict)
    report.notes.append(f"Full fine-tuning: {images} random images an epoch, no augmentation, one validation image.")


def measure(
    setting: Setting, *, parts: tuple[str, ...] = PARTS, network: str = "resnet50", network_size: int = 224
) -> Report:
    """All parts that are asked for, in one report.

    Args:
        setting: On what the benchmarks that need data run.
        parts: Of :data:`PARTS`.
        network: Of the throughput.
        network_size: Its images, pixels.
    """
    choose_device(setting.device)
    quick = setting.quick
    report = Report("gpu", "The benchmarks on an accelerator.", setting)
    if "throughput" in parts:
        shape = {"images": 32, "batch_size": 16, "epochs": 1} if quick else {}
        full = {"images": 6400, "batch_size": 64, "epochs": 3} | shape
        chosen = replace(setting, backbone=network, weights="none", image_size=network_size)
        measure_throughput(report, chosen, **full)
    benchmarks: dict[str, Callable[[], Report]] = _smallest(setting) if quick else _whole(setting)
    for name, run in benchmarks.items():
        if name in parts:
            one = run()
            report.tables |= {f"{one.name}: {heading}": table for heading, table in one.tables.items()}
            report.notes += one.notes
    return report


def _whole(setting: Setting) -> dict[str, Callable[[], Report]]:
    return {
        "precision": lambda: precision.measure_speed(setting),
        "bare": lambda: speed_bare_optuna.measure(setting, workers=8),
        "suffix": lambda: speed_suffix.measure(setting),
        "overhead": lambda: speed_overhead.measure(setting),
        "scaling": lambda: speed_scaling.measure(setting, images=(1000, 10_000, 50_000), trials=(10, 100)),
    }


def _smallest(setting: Setting) -> dict[str, Callable[[], Report]]:
    return {
        "precision": lambda: precision.measure_speed(setting, precision.QUICK),
        "bare": lambda: speed_bare_optuna.measure(setting, parts=("head",), epochs=2),
        "suffix": lambda: speed_suffix.measure(setting, epochs=1, shares=(0.5,)),
        "overhead": lambda: speed_overhead.measure(setting, head_trials=2, mixed_trials=5),
        "scaling": lambda: speed_scaling.measure(setting, images=(20,), trials=(6,), networks=("resnet18",)),
    }


def main() -> None:
    options = harness.parser(__doc__)
    options.set_defaults(device="cuda")
    options.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    options.add_argument("--network", default="resnet50", help="of the throughput (%(default)s)")
    options.add_argument("--network-size", type=int, default=224, help="its images, pixels (%(default)s)")
    arguments = options.parse_args()
    require_device(arguments.device)
    parts = tuple(arguments.only.split(","))
    if unknown := set(parts) - set(PARTS):
        options.error(f"no part {', '.join(sorted(unknown))}; valid: {', '.join(PARTS)}")
    report = measure(
        harness.setting(arguments), parts=parts, network=arguments.network, network_size=arguments.network_size
    )
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
