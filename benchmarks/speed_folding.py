"""What folding batch norms into convolutions at each training step gains, where the norms keep their statistics.

    python benchmarks/speed_folding.py --keep            # three minutes on two idle cores

The training steps of full fine-tuning with `batch_norm = "eval"` (forward, backward, optimizer), as trials compute them
and by the same network unit by unit as it is; steps of both kinds alternate, so that what else the machine does hits
both. Gradients of both are compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, at_least
from frostline.objectives.config import HeadConfig, TrialConfig
from frostline.objectives.heap import keep_freed_memory
from frostline.objectives.networks import BackbonePool, Network, create_head
from frostline.objectives.strategies import plan_phases

NETWORKS = (("mobilenet_v2", 96), ("resnet18", 96), ("resnet50", 128), ("efficientnet_b0", 96))
COLUMNS = ("backbone", "plain step, ms", "folded step, ms", "gain, wall", "gain, CPU", "n", "gradients differ by")


def measure(settings: Sequence[Setting], *, runs: int = 20, batch_size: int = 32) -> Report:
    """The pairs of steps of some networks.

    Args:
        settings: On what.
        runs: Steps of each kind.
        batch_size: Images of a step.
    """
    report = Report("speed_folding", "A training step with folded batch norms against one without.", settings[0])
    for setting in settings:
        add_network(report, setting, runs=runs, batch_size=batch_size)
    report.notes.append("CPU time is steadier than wall time where other processes use the cores.")
    return report


def add_network(report: Report, setting: Setting, *, runs: int, batch_size: int, classes: int = 5) -> None:
    """Add the pairs of steps of one network.

    Args:
        report: Gets a row.
        setting: On what.
        runs: Steps of each kind.
        batch_size: Images of a step.
        classes: Number of classes.
    """
    device = torch.device(setting.device)
    pool = BackbonePool(setting.spec)
    backbone = pool.fresh(pretrained=True, seed=0).to(device)
    config = TrialConfig(strategy="full", batch_norm="eval", batch_size=batch_size)
    torch.manual_seed(0)
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, classes).to(device)
    network = Network(backbone, plan_phases(config, len(backbone.units))[-1], head).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6, fused=True)
    images = torch.randn(batch_size, 3, setting.image_size, setting.image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch_size,), device=device)
    ways: tuple[Sequence[nn.Module], Sequence[nn.Module]] = (list(network.suffix), network._units)

    def backward(units: Sequence[nn.Module]) -> None:
        network._units = list(units)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network.classify(images), labels).backward()

    def gradients(units: Sequence[nn.Module]) -> torch.Tensor:
        backward(units)
        return torch.cat([value.grad.flatten() for value in network.parameters() if value.grad is not None])

    def step(units: Sequence[nn.Module]) -> tuple[float, float]:
        wall, busy = time.perf_counter(), time.process_time()
        backward(units)
        optimizer.step()
        harness.synchronize(device)
        return time.perf_counter() - wall, time.process_time() - busy

    network.eval()  # dropout of the head would draw other masks
    plain, folded = map(gradients, ways)
    differ = float((plain - folded).norm() / plain.norm())
    network.train()
    pairs = [tuple(map(step, ways)) for _ in range(runs + 2)][2:]
    gains = [[one[clock] / other[clock] for one, other in pairs] for clock in (0, 1)]
    times = [harness.spread([1000 * pair[side][0] for pair in pairs]) for side in (0, 1)]
    report.table("Steps", *COLUMNS).add(
        f"{setting.backbone}, {setting.image_size} px", *times, *map(harness.spread, gains), len(pairs), f"{differ:.1e}"
    )
    target = at_least(0.97)
    report.notes.append(f"{setting.backbone}: target {target}, by CPU time: {target.judge(gains[1])}.")


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--steps", type=int, default=20, help="of each kind (%(default)s)")
    options.add_argument("--batch-size", type=int, default=32)
    arguments = options.parse_args()
    runs = 2 if arguments.quick else arguments.steps
    # As a search does.
    keep_freed_memory()
    chosen = harness.setting(arguments)
    every = (
        [chosen]
        if arguments.quick
        else [replace(chosen, backbone=name, weights="none", image_size=side) for name, side in NETWORKS]
    )
    harness.finish(measure(every, runs=runs, batch_size=arguments.batch_size), arguments)


if __name__ == "__main__":
    main()
