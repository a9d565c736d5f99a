"""Does torch.compile pay within a trial, within a study, and from the second process on?

    python benchmarks/speed_compile.py --keep            # about 20 minutes on two idle cores

The training steps of the default partial trial and of the default full one, with batch norms in both modes, plain and
compiled: forward, backward and optimizer step on a resident random batch. The backbone's trained part is compiled as a
whole or unit by unit, with a free batch size, into a cache folder that starts empty. Two processes do so, one after
the other: the first fills the cache, the second finds it. Each tells what its start costs more than a plain one, and
steps of both kinds alternate in it, so that what else the machine does hits both. What a study would decide follows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import bare, harness
from benchmarks.harness import Report, Setting, at_least
from benchmarks.speed_bare_optuna import default_config
from frostline.objectives.config import TrialConfig
from frostline.objectives.devices import autocast, usual_precision
from frostline.objectives.networks import BackbonePool, create_head
from frostline.search.study.settings import TRIALS

COLUMNS = (
    *("trial", "batch norms", "compiled", "plain step, ms", "compiled step, ms", "gain, wall", "gain, CPU", "n"),
    *("target", "met"),
)
STARTS = ("trial", "batch norms", "compiled", "process", "start, s", "start, CPU s", "earned after epochs", "pays in")


@dataclass(frozen=True)
class Arm:
    """What one process measures.

    Attributes:
        strategy: ``partial`` or ``full``.
        batch_norm: Mode of the batch norms.
        scope: ``whole``, or ``units``: compiled one by one.
        classes: Number of classes.
        batch_size: Images of a step.
        depth: Units frozen.
        runs: Steps of each kind.
    """

    strategy: str
    batch_norm: str
    scope: str
    classes: int
    batch_size: int
    depth: int
    runs: int


@dataclass(frozen=True)
class Measured:
    """What a process found: pairs are (wall, CPU) seconds.

    Attributes:
        plain_first: First plain step.
        compiled_first: First compiled step, with all compiling; CPU time with that of the C++ compiler.
        plain: Later plain steps.
        compiled: Later compiled steps, alternating with them.
    """

    plain_first: tuple[float, float]
    compiled_first: tuple[float, float]
    plain: list[tuple[float, float]]
    compiled: list[tuple[float, float]]

    @property
    def start(self) -> tuple[float, float]:
        """What the compiled start costs more, wall and CPU seconds."""
        wall, cpu = (ours - theirs for ours, theirs in zip(self.compiled_first, self.plain_first, strict=True))
        return wall, cpu

    def gains(self, clock: int) -> list[float]:
        """How many times faster compiled steps are, pair by pair; clock 0 is wall, 1 CPU time."""
        return [plain[clock] / ours[clock] for plain, ours in zip(self.plain, self.compiled, strict=True)]


def clocks() -> tuple[float, float]:
    """Wall and CPU seconds, with those of processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used)


def measure_here(setting: Setting, arm: Arm) -> Measured:
    """Measure an arm in this process."""
    pool = BackbonePool(setting.spec)
    backbone = pool.fresh(pretrained=True, seed=0)
    device = torch.device(setting.device)
    backbone.to(device)
    torch.manual_seed(0)
    config = TrialConfig(strategy=arm.strategy, batch_size=arm.batch_size, freeze_depth=arm.depth or None)
    head = create_head(config.head, backbone.units[-1].output_shape, arm.classes)
    net = bare.BareNet(backbone, arm.depth, head, arm.batch_norm).to(device)
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    rate = config.learning_rate
    optimizer = bare.create_optimizer(config, net.head, net.body, rate, rate * config.backbone_lr_ratio)
    net.train()
    shape = backbone.units[arm.depth - 1].output_shape if arm.depth else (3, setting.image_size, setting.image_size)
    inputs = torch.randn(arm.batch_size, *shape, device=device)
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(arm.classes, (arm.batch_size,), device=device)

    def step(body: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        began = clocks()
        with autocast(device, usual_precision(device)):
            logits = net.head(body(inputs))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        harness.synchronize(device)
        wall, cpu = (now - then for now, then in zip(clocks(), began, strict=True))
        return wall, cpu

    # Segments share the network's modules, and with them their modes and weights.
    units = [backbone.segment(unit, unit + 1) for unit in range(arm.depth, len(backbone.units))]
    body = compiled(units if arm.scope == "units" else [net.body])
    firsts = step(net.body), step(body)
    for each in (net.body, body):
        step(each)
    pairs = [(step(net.body), step(body)) for _ in range(arm.runs)]
    return Measured(*firsts, *(list(side) for side in zip(*pairs, strict=True)))


def compiled(parts: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    """Parts of a network, one after the other, each compiled with a free batch size."""
    own = [torch.compile(part) for part in parts]

    def run(features: Tensor) -> Tensor:
        for part in own:
            torch._dynamo.maybe_mark_dynamic(features, 0)
            features = part(features)
        return features

    return run


def measure_apart(setting: Setting, arm: Arm, cache: Path) -> Measured:
    """Measure an arm in a process of its own, with a folder for compiled code."""
    given = json.dumps([asdict(setting), asdict(arm)])
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, "--arm", given]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-2000:])
    found = json.loads(ran.stdout.splitlines()[-1])
    steps = {name: [tuple(pair) for pair in found[name]] for name in ("plain", "compiled")}
    return Measured(tuple(found["plain_first"]), tuple(found["compiled_first"]), **steps)


def measure(
    setting: Setting,
    *,
    runs: int = 20,
    strategies: tuple[str, ...] = ("partial", "full"),
    scopes: tuple[str, ...] = ("whole", "units"),
    modes: tuple[str, ...] = ("train", "eval"),
) -> Report:
    """All arms.

    Args:
        setting: On what.
        runs: Steps of each kind in each process.
        strategies: Whose default trials.
        scopes: How they are compiled.
        modes: Of batch norms.
    """
    report = Report("speed_compile", "What torch.compile costs processes and studies, and what it gains.", setting)
    with harness.scratch_folder() as folder:
        task = setting.task(setting.dataset(folder))
    images, classes = len(task.train), len(task.train.classes)
    torch_threads = replace(setting, threads=setting.threads or torch.get_num_threads())
    for strategy in strategies:
        config = default_config(task, strategy)
        steps = -(-images // config.batch_size)
        for mode in modes:
            for scope in scopes:
                arm = Arm(strategy, mode, scope, classes, config.batch_size, config.freeze_depth or 0, runs)
                with tempfile.TemporaryDirectory() as cache:
                    found = [measure_apart(torch_threads, arm, Path(cache)) for _ in range(2)]
                _report(report, arm, found, steps, config.epochs)
    report.notes.append(
        "Start: what the first compiled step takes longer than the first plain one, the imports of the compiler and "
        "the C++ compiler's own time included. Earned after epochs: that start over what an epoch's steps gain."
    )
    report.notes.append(
        f"Pays in: the shortest of a trial, and a study of {TRIALS} trials of which half train this deep to half of "
        "their epochs, as pruning and early stopping leave them."
    )
    report.notes.append(
        "Gain over steady steps of the second process; the CPU gain is steadier where cores are shared."
    )
    return report


def _report(report: Report, arm: Arm, found: list[Measured], steps: int, epochs: int) -> None:
    own = (arm.strategy, arm.batch_norm, arm.scope)
    second = found[1]
    wall, cpu = second.gains(0), second.gains(1)
    times = (harness.spread([1000 * step[0] for step in side]) for side in (second.plain, second.compiled))
    target = at_least(1.3 if arm.strategy == "full" else 0.97)
    report.table("Steps", *COLUMNS).add(
        *own, *times, harness.spread(wall), harness.spread(cpu), len(wall), target, target.judge(cpu)
    )
    plain, ours = (statistics.median(step[1] for step in side) for side in (second.plain, second.compiled))
    for number, process in enumerate(found, start=1):
        seconds, used = process.start
        gained = steps * (plain - ours)
        earned = used / gained if gained > 0 else float("inf")
        pays = "a trial" if earned < epochs else "a study" if earned < TRIALS * epochs / 4 else "NEITHER"
        report.table("Starts", *STARTS).add(
            *own, ("first", "second")[number - 1], f"{seconds:.1f}", f"{used:.1f}", f"{earned:.0f}", pays
        )


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--steps", type=int, default=20, help="of each kind in each process (%(default)s)")
    options.add_argument("--only", choices=("partial", "full"), help="one trial")
    options.add_argument("--scope", choices=("whole", "units"), help="one way of compiling")
    options.add_argument("--batch-norm", choices=("train", "eval"), help="one mode")
    options.add_argument("--arm", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.arm:
        setting, arm = json.loads(arguments.arm)
        torch.set_num_threads(setting["threads"])
        print(json.dumps(asdict(measure_here(Setting(**setting), Arm(**arm)))))
        return
    report = measure(
        harness.setting(arguments),
        runs=2 if arguments.quick else arguments.steps,
        strategies=(arguments.only,) if arguments.only else ("partial", "full"),
        scopes=(arguments.scope,) if arguments.scope else ("whole", "units"),
        modes=(arguments.batch_norm,) if arguments.batch_norm else ("train", "eval"),
    )
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
