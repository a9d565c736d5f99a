"""Does torch.compile pay within the length of a trial?

    python benchmarks/speed_compile.py --keep            # some minutes on two cores

The bare loop of benchmarks/speed_suffix.py (forward, backward, optimizer step on resident tensors), as it is and with
its network compiled, for the default partial trial and the default full one. What compiling costs is what the first
epoch takes longer; after how many epochs it is earned again is compared with how many a trial has.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import torch
import torch._inductor.config as inductor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting
from benchmarks.speed_bare_optuna import default_config
from benchmarks.speed_suffix import loop_seconds, random_batches
from frostline.objectives.networks import BackbonePool

COLUMNS = (
    *("trial", "units frozen", "epoch, s", "compiled: epoch, s", "compiling, s", "earned after epochs"),
    *("epochs of a trial", "n", "pays"),
)


def measure(setting: Setting, *, epochs: int = 3) -> Report:
    """Both trials.

    Args:
        setting: On what.
        epochs: Measured in each run, after a first one.
    """
    report = Report("speed_compile", "What torch.compile costs a trial, and what it gains.", setting)
    with harness.scratch_folder() as folder:
        task = setting.task(setting.dataset(folder))
    pool = BackbonePool(setting.spec)
    units = len(pool.pretrained.units)
    for strategy in ("partial", "full"):
        config = default_config(task, strategy)
        depth = config.freeze_depth or 0
        side = setting.image_size
        shape = pool.pretrained.units[depth - 1].output_shape if depth else (3, side, side)
        batches = random_batches(config, task, shape)
        plain, compiled = [], []
        for _ in range(setting.pairs):
            plain.append(loop_seconds(config, task, pool, depth, batches, epochs))
            torch.compiler.reset()
            compiled.append(loop_seconds(config, task, pool, depth, batches, epochs, compiled=True))
        ours, theirs = ([statistics.mean(run[1:]) for run in side] for side in (plain, compiled))
        first, later = ([run[0] - statistics.mean(run[1:]) for run in side] for side in (plain, compiled))
        costs = [own - usual for own, usual in zip(later, first, strict=True)]
        gain = statistics.median(ours) - statistics.median(theirs)
        earned = statistics.median(costs) / gain if gain > 0 else float("inf")
        report.table("Trials", *COLUMNS).add(
            *(strategy, f"{depth} of {units}", harness.spread(ours), harness.spread(theirs), harness.spread(costs)),
            *(f"{earned:.0f}", config.epochs, setting.pairs, "yes" if earned < config.epochs else "NO"),
        )
    report.notes.append("A search compiles anew for every depth, batch size and pooling; caches on disk are not used.")
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--epochs", type=int, default=3, help="measured in each run (%(default)s)")
    arguments = options.parse_args()
    # A second run must not find what the first has compiled.
    inductor.force_disable_caches = True
    report = measure(harness.setting(arguments), epochs=1 if arguments.quick else arguments.epochs)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
