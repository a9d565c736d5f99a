"""A pass for features and a training step of full fine-tuning, as a search computes them, beside an older commit.

    python benchmarks/speed_older.py OLDER --keep       # OLDER: a checkout of 08a8997 with its own .venv; 10 minutes

Each side is a process of its own checkout, with the threads and the memory settings that its command line has; they
take turns. This side computes in the precision that `--precision auto` takes. Random weights and noise; batch norms
keep their statistics, as is the default of the search.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, at_least

HERE = Path(__file__).parents[1]
FEATURES, TRAINING = "features", "training step"
# Networks, image sizes, batch sizes of training; least gains of features and training with AMX.
NETWORKS = (
    ("resnet50", 128, 32, 3.0, 2.2),
    ("vit_b_16", 224, 16, 3.0, 2.5),
    ("resnet18", 96, 32, 0.97, 0.97),
    ("convnext_tiny", 128, 32, 0.97, 0.97),
    ("mobilenet_v2", 96, 32, 1.8, 1.3),
    ("squeezenet1_1", 64, 32, 0.97, 0.97),
)
# Reads names of work from its input, and writes the seconds of each; the names of modules are those of either commit.
SIDE = """
import sys, time
try:
    from frostline.objectives.heap import keep_freed_memory
    keep_freed_memory()
    newer = True
except ImportError:
    newer = False
import torch
import torch.nn.functional as F
from frostline.objectives.config import HeadConfig
from frostline.objectives.phases import Phase
name, side, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if newer:
    from frostline.objectives.config import BackboneSpec
    from frostline.objectives.networks import BackbonePool, FrozenPrefix, Network, create_head
    from frostline.objectives.precision_probe import choose_precision
    pool = BackbonePool(BackboneSpec(name, "none", side))
    precision = choose_precision(pool, torch.device("cpu"), threads=torch.get_num_threads()).precision
    backbone = pool.fresh(pretrained=True, seed=0).to("cpu")
    taken, own = precision.sentence, {"precision": precision}
    frozen = {"precision": precision.frozen}
else:
    from frostline.objectives.backbones import BackboneSpec, create_backbone
    from frostline.objectives.freezing import FrozenPrefix
    from frostline.objectives.heads import create_head
    from frostline.objectives.network import Network
    backbone = create_backbone(BackboneSpec(name, "none", side)).to("cpu")
    taken, own, frozen = "float32", {}, {}
units = len(backbone.units)
torch.manual_seed(0)
images = torch.randn(32, 3, side, side)
channels_last = images[:batch].contiguous(memory_format=torch.channels_last)
labels = torch.arange(batch) % 10

def features():
    prefix.kept(images)

def step():
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(network.classify(channels_last), labels).backward()
    optimizer.step()

prefix = FrozenPrefix(backbone.segment(0, units), units, **frozen)
features()
times = {"features": features, "training step": step}
network = None
print("READY", taken, flush=True)
for line in sys.stdin:
    work = line.strip()
    if work == "training step" and network is None:
        head = create_head(HeadConfig(), backbone.units[-1].output_shape, 10)
        phase = Phase("full", 0, 1, 1e-6, (1e-6,) * units, batch_norm="eval")
        network = Network(backbone, phase, head, **own).train()
        optimizer = torch.optim.AdamW([each for _, each in network.trainable()], lr=1e-6, fused=True)
        step()
    began = time.perf_counter()
    times[work]()
    print(time.perf_counter() - began, flush=True)
"""


class Side:
    """A process of one checkout with one network.

    Attributes:
        taken: Precision in which it computes, in words.
    """

    def __init__(self, checkout: Path, threads: int, *arguments: object) -> None:
        environment = harness.clean_environment() | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        command = [checkout / ".venv/bin/python", "-c", SIDE, *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
        )
        self.taken = self._said().removeprefix("READY ")

    def seconds(self, work: str) -> float:
        """Return the seconds of a piece of work."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{work}\n")
        self._process.stdin.flush()
        return float(self._said())

    def end(self) -> None:
        """End the process."""
        self._process.communicate()

    def _said(self) -> str:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if not said:
            raise SystemExit(f"The process of {self._process.args!r:.60} ended.")
        return said


def measure(setting: Setting, older: Path, networks: Sequence[tuple[str, int, int, float, float]]) -> Report:
    """Both pieces of work of every network, on both sides."""
    report = Report("speed_older", "A feature pass and a training step, beside an older commit.", setting)
    columns = ("network", "work", "older, s", "here, s", "times as fast", "n", "target", "met", "precision here")
    table = report.table("Speed", *columns)
    for name, side, batch, *targets in networks:
        here, there = (Side(checkout, setting.threads, name, side, batch) for checkout in (HERE, older))
        for work, target in zip((FEATURES, TRAINING), map(at_least, targets), strict=True):
            ours, rival = partial(here.seconds, work), partial(there.seconds, work)
            ours()
            rival()
            pairs = harness.alternate(ours, rival, setting.pairs)
            faster = pairs.faster
            table.add(
                *(f"{name}, {side} px, batch {batch if work == TRAINING else 32}", work),
                *map(harness.spread, (pairs.rival, pairs.ours, faster)),
                *(len(faster), target, target.judge(faster), here.taken),
            )
            print("\t".join(table.rows[-1]), flush=True)
        here.end()
        there.end()
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("older", type=Path, help="a checkout of the older commit, with its own .venv")
    options.set_defaults(pairs=7)
    arguments: argparse.Namespace = options.parse_args()
    networks = NETWORKS[-1:] if arguments.quick else NETWORKS
    harness.finish(measure(harness.setting(arguments), arguments.older.resolve(), networks), arguments)


if __name__ == "__main__":
    main()
