"""What bfloat16 gains on this machine, what `--precision auto` makes of it, and whether scores stay the same.

    python benchmarks/precision.py --keep                    # speed of six networks; 15 minutes on two cores
    python benchmarks/precision.py --scores --keep           # scores of trainings in both precisions; 30 minutes
    python benchmarks/precision.py --study --keep            # one search, in float32 and with auto; 30 minutes

Speed: random weights and noise, both precisions alternately. Features are those of the whole frozen backbone, a
training step is forward, backward and AdamW of all of it. Scores: test accuracy after the default training of each
strategy, the same seed in both precisions, both parts in bfloat16 whether that is faster or not. With --older CHECKOUT,
whose .venv has that commit, a search is compared with the same search there.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, Target, at_least
from benchmarks.paired_scores import interval, scored_settings, test_accuracy
from frostline.objectives.config import BackboneSpec, HeadConfig
from frostline.objectives.devices import choose_device
from frostline.objectives.heap import keep_freed_memory
from frostline.objectives.networks import CANONICAL_BATCH, BackbonePool, FrozenPrefix, Network, create_head
from frostline.objectives.phases import Phase
from frostline.objectives.precision import BFLOAT16, EXACT, FLOAT32, Precision
from frostline.objectives.precision_probe import choose_precision

Targets = tuple[float | None, float | None]
# Networks with image sizes, batch, and targets of features and training, which hold for CPUs with AMX.
NETWORKS: dict[tuple[str, int, int], Targets] = {
    ("resnet50", 128, 32): (3.0, 2.2),
    ("vit_b_16", 224, 16): (3.0, 2.5),
    ("resnet18", 96, 32): (None, None),
    ("convnext_tiny", 128, 32): (None, None),
    ("mobilenet_v2", 96, 32): (1.8, None),
    ("squeezenet1_1", 64, 32): (None, None),
}
QUICK: dict[tuple[str, int, int], Targets] = {("squeezenet1_1", 64, 32): (None, None)}
COLUMNS = (
    *("network", "part", "float32, ms an image", "bfloat16 is so many times as fast", "n", "target", "met"),
    *("auto takes", "auto is so many times as fast"),
)
STRATEGIES = ("feature_extraction", "partial", "lp_ft", "full")


def feature_pass(pool: BackbonePool, batch: int, device: torch.device) -> Callable[[str], Callable[[], object]]:
    """A function that gives the pass of a frozen backbone over noise, by precision."""
    backbone = pool.fresh(pretrained=True, seed=0).to(device)
    depth, side = len(backbone.units), pool.spec.image_size
    images = torch.randn(max(batch, CANONICAL_BATCH), 3, side, side).to(device)
    prefixes = {each: FrozenPrefix(backbone.segment(0, depth), depth, precision=each) for each in (FLOAT32, BFLOAT16)}
    return lambda precision: lambda: prefixes[precision].kept(images)


def training_step(pool: BackbonePool, batch: int, device: torch.device) -> Callable[[str], Callable[[], object]]:
    """A function that gives a step of full fine-tuning on noise, by precision."""
    backbone = pool.fresh(pretrained=True, seed=0).to(device)
    units, side = len(backbone.units), pool.spec.image_size
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, 10).to(device)
    # The default of the search space: batch norms keep their statistics.
    network = Network(backbone, Phase("full", 0, 1, 1e-3, (1e-3,) * units, batch_norm="eval"), head).train()
    images = torch.randn(batch, 3, side, side).to(device, memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 10
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6, fused=True)

    def step(precision: str) -> None:
        network.compute_in(Precision.both(precision))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network.classify(images), labels).backward()
        optimizer.step()

    return lambda precision: lambda: step(precision)


def measure_speed(setting: Setting, networks: Mapping[tuple[str, int, int], Targets] = NETWORKS) -> Report:
    """Both parts of every network in both precisions, and what auto takes."""
    report = Report("precision", "bfloat16 against float32, part by part, and what auto makes of it.", setting)
    device = choose_device(setting.device)
    table = report.table("Speed", *COLUMNS)
    probing = []
    for (name, side, batch), targets in networks.items():
        pool = BackbonePool(BackboneSpec(name, "none", side))
        began = time.perf_counter()
        choice = choose_precision(pool, device, threads=torch.get_num_threads())
        probing.append(time.perf_counter() - began)
        makers = (feature_pass, training_step)
        taken = (choice.precision.frozen, choice.precision.trained)
        for part, maker, target, auto in zip(("features", "training step"), makers, targets, taken, strict=True):
            works = {precision: maker(pool, batch, device)(precision) for precision in (FLOAT32, BFLOAT16)}
            for work in works.values():
                work()
            pairs = harness.alternate(
                lambda works=works: harness.seconds(works[BFLOAT16], device),
                lambda works=works: harness.seconds(works[FLOAT32], device),
                setting.pairs,
            )
            size = max(batch, CANONICAL_BATCH) if maker is feature_pass else batch
            row = (f"{name}, {side} px, batch {size}", part, f"{1000 * statistics.median(pairs.rival) / size:.2f}")
            bound = None if target is None else at_least(target)
            table.add(*row, *_judged(pairs.faster, bound), auto, *_of_auto(pairs.faster, auto))
            print("\t".join(table.rows[-1]), flush=True)
    report.notes.append(f"`auto` measured for {harness.spread(probing)} s a network, loading not included.")
    report.notes.append(f"The processor has {_instructions()}.")
    return report


def _judged(faster: Sequence[float], target: Target | None) -> tuple[str, ...]:
    met = ("-", "-") if target is None else (str(target), target.judge(faster))
    return (harness.spread(faster), str(len(faster)), *met)


def _of_auto(faster: Sequence[float], taken: str) -> tuple[str]:
    return (f"{statistics.median(faster):.2f}" if taken == BFLOAT16 else "1",)


def _instructions() -> str:
    """What the processor offers for bfloat16."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return "unknown instructions"
    offered = [name for name in ("amx_bf16", "avx512_bf16") if name in flags]
    return " and ".join(offered) or "no instructions for bfloat16"


def measure_scores(settings: Sequence[Setting], seeds: int, strategies: Sequence[str] = STRATEGIES) -> Report:
    """Test accuracy of every strategy on every dataset, paired by seed."""
    claim = "Scores of trainings in bfloat16 are those in float32, but for noise."
    report = Report("precision_scores", claim, settings[0])
    table = report.table(
        "Test accuracy",
        *("dataset", "network", "strategy", "float32, %", "bfloat16, %", "difference, points (95 %)"),
        *("of seeds in float32, points", "seeds"),
    )
    everything: list[float] = []
    for own in settings:
        with harness.scratch_folder() as folder:
            dataset = own.dataset(folder)
            task, test = own.task(dataset), dataset.open_test()
        depth = len(task.backbones.pretrained.units) * 2 // 3
        for strategy in strategies:
            values = {"strategy": strategy, "epochs": 4, **({"freeze_depth": depth} if strategy == "partial" else {})}
            found: dict[Precision, list[float]] = {EXACT: [], Precision.both(BFLOAT16): []}
            for seed in range(seeds):
                for precision, scores in found.items():
                    scores.append(test_accuracy(values, replace(task, precision=precision), test, seed))
            exact, rounded = found.values()
            gaps = [other - one for one, other in zip(exact, rounded, strict=True)]
            everything += gaps
            table.add(
                *(Path(own.data).name, f"{own.backbone}, {own.image_size} px", strategy),
                *(f"{statistics.mean(each):.2f}" for each in (exact, rounded)),
                *(interval(gaps), f"{statistics.stdev(exact):.2f}", seeds),
            )
            print("\t".join(table.rows[-1]), flush=True)
    report.notes.append(f"All together: {interval(everything)} points, n = {len(everything)}.")
    report.notes.append("Four epochs, defaults else; test images are classified in float32 by both.")
    return report


def measure_study(setting: Setting, trials: int, older: Path | None) -> Report:
    """A search from its command to its verdict, with auto and in float32, or by an older checkout, alternately."""
    report = Report("precision_study", "A search of all strategies, from the command to the verdict.", setting)

    def run(script: Path, *more: str) -> float:
        with harness.scratch_folder() as folder:
            command = [
                *(script, "search", setting.data),
                *("--backbone", setting.backbone, "--weights", setting.weights, "--image-size", setting.image_size),
                *("--trials", trials, "--seeds", 2, "--name", "timed", "--workspace", folder, *more),
            ]
            began = time.perf_counter()
            subprocess.run(list(map(str, command)), check=True, capture_output=True, env=harness.clean_environment())
            return time.perf_counter() - began

    ours = Path(sys.executable).with_name("frostline")
    rival = partial(run, older / ".venv/bin/frostline") if older else partial(run, ours, "--precision", FLOAT32)
    pairs = harness.alternate(lambda: run(ours), rival, setting.pairs)
    other = "the older commit" if older else "float32"
    table = report.table("Searches", "trials", f"{other}, s", "auto, s", "auto is so many times as fast", "n")
    faster = pairs.faster
    table.add(trials, harness.spread(pairs.rival), harness.spread(pairs.ours), harness.spread(faster), len(faster))
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--scores", action="store_true", help="compare scores instead")
    options.add_argument("--study", action="store_true", help="time a search instead")
    options.add_argument("--older", type=Path, help="checkout of an older commit, with its .venv, to time searches by")
    options.add_argument("--trials", type=int, default=20, help="of the search (%(default)s)")
    options.add_argument("--seeds", type=int, default=5, help="of each training (%(default)s)")
    options.set_defaults(pairs=5)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    # As a search does.
    keep_freed_memory()
    if arguments.scores:
        report = measure_scores(scored_settings(chosen), 2 if arguments.quick else arguments.seeds)
    elif arguments.study:
        report = measure_study(chosen, arguments.trials, arguments.older and arguments.older.resolve())
    else:
        report = measure_speed(chosen, QUICK if arguments.quick else NETWORKS)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
