"""What training takes where other processes use the same cores, by how long threads spin that wait for each other.

    python benchmarks/shared_cores.py --keep                 # 5 minutes

Processes train at the same time, each with a thread a core; the time is that of the slowest. Threads that wait for each
other spin for 300,000 rounds by default (GNU OpenMP), then sleep; Frostline sets 10,000 rounds (`GOMP_SPINCOUNT`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting

# Prints the seconds of some training steps.
TRAIN = """
import sys, time, torch
from frostline.objectives.config import BackboneSpec
from frostline.objectives.networks import BackbonePool
name, side, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
backbone = BackbonePool(BackboneSpec(name, "none", side)).fresh(pretrained=True, seed=0).to("cpu")
network = backbone.segment(0, len(backbone.units)).train()
images = torch.randn(16, 3, side, side).contiguous(memory_format=torch.channels_last)
def step():
    network.zero_grad()
    network(images).mean().backward()
step()
print("READY", flush=True)
sys.stdin.readline()
began = time.perf_counter()
for _ in range(steps):
    step()
print(time.perf_counter() - began)
"""


def train_at_once(setting: Setting, processes: int, steps: int, rounds: str) -> float:
    """Seconds of the slowest of some processes that train at the same time.

    Args:
        setting: Backbone and image size.
        processes: Number of processes.
        steps: Steps of each.
        rounds: How long threads spin; empty for what OpenMP does by default.
    """
    # The script loads torch before Frostline, which then comes too late to set anything.
    environment = {**harness.clean_environment(), "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    environment |= {"GOMP_SPINCOUNT": rounds} if rounds else {}
    command = [sys.executable, "-c", TRAIN, setting.backbone, str(setting.image_size), str(steps)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in started)


def measure(setting: Setting, *, steps: int = 20, most: int = 3) -> Report:
    """Both ways to wait, with one process and with several at once."""
    report = Report("shared_cores", "Training beside other processes, by how long waiting threads spin.", setting)
    columns = ("processes at once", "300,000 rounds, s", "10,000 rounds, s", "times as fast", "n")
    table = report.table(f"{steps} training steps", *columns)
    for processes in range(1, most + 1):
        pairs = harness.alternate(
            lambda count=processes: train_at_once(setting, count, steps, "10000"),
            lambda count=processes: train_at_once(setting, count, steps, ""),
            setting.pairs,
        )
        table.add(processes, *map(harness.spread, (pairs.rival, pairs.ours, pairs.faster)), len(pairs.ours))
        print("\t".join(table.rows[-1]), flush=True)
    report.notes.append("Steps are forward and backward with a batch of 16; each process has a thread a core.")
    return report


def main() -> None:
    arguments = harness.parser(__doc__).parse_args()
    quick = arguments.quick
    report = measure(harness.setting(arguments), steps=1 if quick else 20, most=1 if quick else 3)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
