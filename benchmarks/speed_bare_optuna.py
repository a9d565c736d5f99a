"""Seconds a trial against a straightforward script of Optuna and torchvision, on the same list of configurations.

    python benchmarks/speed_bare_optuna.py --keep                    # about an hour on two cores
    python benchmarks/speed_bare_optuna.py --rival-cached --keep     # the rival keeps decoded images in memory
    python benchmarks/speed_bare_optuna.py --only head,study         # of head, study, partial, lp_ft, full, scratch

Every strategy's default configuration, all epochs on both sides, alternating, another seed each pair. The rival decodes
every epoch (benchmarks/bare.py); with --rival-cached what is left of a ratio is not decoding.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import bare, harness
from benchmarks.harness import Pairs, Report, Setting, Target, at_least
from frostline.objectives.backbones import Backbone
from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.data import ImageDataset
from frostline.objectives.features.feature_source import FeatureStore
from frostline.objectives.finetune import NO_STAGES, Task, finetune
from frostline.objectives.networks import BackbonePool
from frostline.objectives.populations import finetune_together
from frostline.objectives.training import Stages
from frostline.search.execution import run_search
from frostline.search.records import TrialRecord
from frostline.search.space import COMPETING, create_space, default_tables, resolve_space
from frostline.search.study import Observer, restore_config
from frostline.search.study.settings import POPULATION
from frostline.storage.files import FeatureFiles
from frostline.storage.workspace import Workspace

PARTS = ("head", "study", "partial", "lp_ft", "full", "scratch")
SHARES = (0.25, 0.5, 0.75, 0.9)
COLUMNS = (
    *("trial", "ours, s", "bare, s", "times faster: median [lowest, highest]", "n", "target", "met"),
    *("ours, val score", "bare, val score"),
)


def default_config(task: Task, strategy: str, **changes: Any) -> TrialConfig:
    """A strategy's default configuration on a task, without early stopping, so that both sides do the same work."""
    space = create_space(default_tables(len(task.train))).only(COMPETING)
    flat = resolve_space(space, len(task.backbones.pretrained.units)).default(strategy) | changes
    return create_config(flat | {"patience": flat["epochs"]})


def depths(backbone: Backbone, shares: tuple[float, ...] = SHARES) -> list[int]:
    """Depths that freeze about these shares of the forward operations, and leave a unit to train."""
    units = len(backbone.units)
    frozen = [backbone.frozen_share(depth)[1] for depth in range(1, units)]
    nearest = {min(range(1, units), key=lambda depth: abs(frozen[depth - 1] - share)) for share in shares}
    return sorted(nearest)


def seeing_all_views(config: TrialConfig) -> TrialConfig:
    """As long as it takes to compute all features of a configuration."""
    return config.model_copy(update={"epochs": max(1, min(config.views, config.epochs))})


class Contest:
    """One task, ours and the rival's side of it."""

    def __init__(self, setting: Setting, folder: Path, *, workers: int, cached: bool) -> None:
        self.setting = setting
        self.dataset: ImageDataset = setting.dataset(folder / "images")
        stages = Stages(FeatureFiles(folder / "stages", "stage"), 10**10)
        self.task = replace(setting.task(self.dataset), stages=stages)
        self.data = bare.BareData.of(self.dataset, setting.data, workers=workers, cached=cached)
        self.pool = BackbonePool(setting.spec)
        self._study = optuna.create_study(direction="maximize")

    def ours(self, config: TrialConfig, seed: int, task: Task | None = None) -> tuple[float, float]:
        """Seconds and validation score."""
        started = time.perf_counter()
        score = finetune(config, task or self.task, seed=seed).score
        harness.synchronize(self.task.device)
        return time.perf_counter() - started, score

    def ours_together(self, configs: list[TrialConfig], seed: int) -> tuple[float, float]:
        """Seconds a trial of a population, and the first one's validation score."""
        started = time.perf_counter()
        results = finetune_together(configs, self.task, seed=seed, on_epochs=[lambda result: None] * len(configs))
        harness.synchronize(self.task.device)
        first = results[0]
        if isinstance(first, Exception):
            raise first
        return (time.perf_counter() - started) / len(configs), first.score

    def cold(self, config: TrialConfig, seed: int) -> tuple[float, float]:
        """Ours, with no features nor stages kept from another trial."""
        store = FeatureStore(self.task.store.memory.budget)
        return self.ours(config, seed, replace(self.task, store=store, stages=NO_STAGES))

    def bare(self, config: TrialConfig, seed: int, stop_after: int | None = None) -> tuple[float, float]:
        """Seconds and validation score of a trial of the bare script's study."""
        started = time.perf_counter()
        trial = self._study.ask()
        device = self.task.device

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch)

        score = bare.train(
            config, self.data, self.pool, seed=seed, device=device, on_epoch=report, stop_after=stop_after
        )
        self._study.tell(trial, score)
        harness.synchronize(device)
        return time.perf_counter() - started, score


def compare(
    report: Report,
    contest: Contest,
    name: str,
    config: TrialConfig,
    target: Target,
    before: TrialConfig | None = None,
) -> None:
    """One row: ours and bare alternately, a seed a pair.

    Args:
        report: Gets the row.
        contest: Both sides.
        name: Of the row.
        config: What both train.
        target: Of the ratio.
        before: Another trial of ours, which is not counted and leaves what the counted one finds; if None, it finds
            nothing.
    """
    ours, rival = [], []
    for seed in range(contest.setting.pairs):
        if before is not None:
            contest.ours(before, seed)
        ours.append(contest.cold(config, seed) if before is None else contest.ours(config, seed))
        rival.append(contest.bare(config, seed))
    _row(report, name, ours, rival, target)


def compare_population(report: Report, contest: Contest, config: TrialConfig, target: Target) -> None:
    """One row: a head-only trial as a user gets it, one of a population of trials that differ in rate and decay.

    Args:
        report: Gets the row.
        contest: Both sides.
        config: Of the first of them, and what bare trains.
        target: Of the ratio, of our seconds over all trials of the population.
    """
    size = POPULATION
    rates = [config.learning_rate * 1.1**place for place in range(size)]
    every = [config.model_copy(update={"learning_rate": rate, "weight_decay": rate / 10}) for rate in rates]
    ours, rival = [], []
    for seed in range(contest.setting.pairs):
        contest.ours(seeing_all_views(config), seed)
        ours.append(contest.ours_together([config, *every[1:]], seed))
        rival.append(contest.bare(config, seed))
    _row(report, f"head only, features there, one of {size} in a population", ours, rival, target)


def _row(
    report: Report, name: str, ours: list[tuple[float, float]], rival: list[tuple[float, float]], target: Target
) -> None:
    pairs = Pairs(tuple(time for time, _ in ours), tuple(time for time, _ in rival))
    scores = [harness.mean([score for _, score in side]) for side in (ours, rival)]
    table = report.table("Seconds a trial", *COLUMNS)
    faster = pairs.faster
    table.add(
        *(name, harness.spread(pairs.ours), harness.spread(pairs.rival), harness.spread(faster)),
        *(len(faster), target, target.judge(faster), *scores),
    )


class Clock(Observer):
    """When trials end, seconds since the search began."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.ended: list[tuple[float, TrialRecord]] = []

    def trial_finished(self, trial: TrialRecord) -> None:
        self.ended.append((time.perf_counter() - self.started, trial))


def compare_study(report: Report, contest: Contest, trials: int, sample: int) -> None:
    """A feature-extraction study with everything around it, against its own configurations one after another.

    Args:
        report: Gets a table and a note.
        contest: Both sides.
        trials: Of the study.
        sample: How many of them the bare script really trains; the others are counted at their seconds an epoch.
    """
    request = contest.setting.request(
        trials=trials, strategies=("feature_extraction",), finals_seeds=1, candidates=1, name="speed", metric="accuracy"
    )
    clock = Clock()
    with harness.scratch_folder() as folder:
        run_search(request, Workspace(folder), clock)
        total = time.perf_counter() - clock.started
    done = [trial for _, trial in clock.ended if trial.curve]
    chosen = done[:: max(1, len(done) // sample)][:sample]
    per_epoch = []
    for trial in chosen:
        config = restore_config(trial.config)
        config = config.model_copy(update={"patience": config.epochs})
        per_epoch.append(contest.bare(config, 0, stop_after=len(trial.curve))[0] / len(trial.curve))
    epochs = sum(len(trial.curve) for trial in done)
    rival = statistics.mean(per_epoch) * epochs
    table = report.table(
        f"A study of {trials} feature-extraction trials",
        *("what", "ours, s", "bare, s", "times faster", "target", "met", "epochs of all trials", "bare, s an epoch"),
    )
    ends, target = [end for end, _ in clock.ended], at_least(20)
    for what, seconds in (
        ("from nothing to the last trial's end", ends[-1]),
        ("with a final, its test, the report", total),
    ):
        ratio = rival / seconds
        table.add(
            *(what, f"{seconds:.1f}", f"{rival:.0f}", f"{ratio:.1f}", target, target.judge([ratio])),
            *(epochs, harness.spread(per_epoch)),
        )
    gaps = [later - earlier for earlier, later in pairwise(ends)]
    report.notes += [
        f"Study: ours with decoding, extraction, {trials} trials and tracking; the bare side is extrapolated: "
        f"{len(chosen)} of the trials were trained by it for as many epochs as ours, the rest counted by epochs at "
        "their mean. It gets our pruning for nothing, and pays for no final in either row.",
        f"Study: from the end of a trial to the end of the next {harness.spread(gaps)} s (extraction where needed "
        "and everything around the training included).",
    ]


def measure(
    setting: Setting,
    *,
    parts: tuple[str, ...] = PARTS,
    workers: int = 0,
    cached: bool = False,
    epochs: int | None = None,
    trials: int = 50,
    sample: int = 3,
) -> Report:
    """All comparisons.

    Args:
        setting: On what.
        parts: Of :data:`PARTS`.
        workers: Of the rival's loaders.
        cached: Whether the rival keeps decoded images.
        epochs: Of every trial; the default space's if None.
        trials: Of the study.
        sample: Of them, trained by the bare script.
    """
    name = "speed_bare_optuna_cached" if cached else "speed_bare_optuna"
    report = Report(name, "The same configurations by Frostline and by a bare Optuna and torchvision script.", setting)
    with harness.scratch_folder() as folder:
        contest = Contest(setting, folder, workers=workers, cached=cached)
        changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
        if "head" in parts:
            # The bare script solves no head.
            head = default_config(contest.task, "feature_extraction", **changes, **{"head.init": "default"})
            compare(report, contest, "head only, features there", head, at_least(100), seeing_all_views(head))
            compare_population(report, contest, head, at_least(100))
        if "study" in parts:
            compare_study(report, contest, trials, sample)
        if "partial" in parts:
            _compare_partial(report, contest, changes)
        if "lp_ft" in parts:
            probe = {"probe_epochs": max(1, epochs // 2)} if epochs else {}
            config = default_config(contest.task, "lp_ft", **changes, **probe)
            compare(report, contest, "lp_ft, cold", config, at_least(1.0))
            shortest = config.model_copy(update={"epochs": (config.probe_epochs or 0) + 1})
            compare(report, contest, "lp_ft, its probe stage there", config, at_least(1.5), shortest)
        for strategy in ("full", "scratch"):
            if strategy in parts:
                compare(report, contest, strategy, default_config(contest.task, strategy, **changes), at_least(1.0))
    report.notes += [
        "Whole trials, no early stopping, float32 on the CPU. Scores are the best of a trial's epochs on the same "
        f"validation images ({len(contest.task.val)}), mean ± standard deviation over the pairs' seeds; the draws "
        "of augmentation and order differ, and ours repeats 4 views where a prefix is frozen.",
        "`cold`: no features from another trial; `warm`: another trial of the same depth has been there.",
        f"Rival: DataLoader with {workers} workers, {'decoded images in memory' if cached else 'decodes every epoch'}.",
    ]
    return report


def _compare_partial(report: Report, contest: Contest, changes: dict[str, Any]) -> None:
    backbone = contest.task.backbones.pretrained
    found = depths(backbone)
    for place, depth in enumerate(found):
        share = backbone.frozen_share(depth)[1]
        config = default_config(contest.task, "partial", freeze_depth=depth, **changes)
        # The shallowest of them shall gain 1.3 times, the deepest 3.
        target = at_least(round(1.3 + 1.7 * place / max(1, len(found) - 1), 2))
        name = f"partial, {depth} of {len(backbone.units)} units ({share:.0%} of the operations)"
        compare(report, contest, f"{name}, cold", config, target)
        compare(report, contest, f"{name}, warm", config, target, seeing_all_views(config))


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    options.add_argument("--rival-workers", type=int, default=0, help="of its DataLoaders (%(default)s)")
    options.add_argument("--rival-cached", action="store_true", help="it keeps decoded images in memory")
    options.add_argument("--epochs", type=int, help="of every trial; otherwise the default space's")
    options.add_argument("--trials", type=int, default=50, help="of the study (%(default)s)")
    options.add_argument("--sample", type=int, default=3, help="trials of the study that the rival trains")
    arguments = options.parse_args()
    parts = tuple(arguments.only.split(","))
    if unknown := set(parts) - set(PARTS):
        options.error(f"no part {', '.join(sorted(unknown))}; valid: {', '.join(PARTS)}")
    quick = arguments.quick
    report = measure(
        harness.setting(arguments),
        parts=parts,
        workers=arguments.rival_workers,
        cached=arguments.rival_cached,
        epochs=2 if quick and arguments.epochs is None else arguments.epochs,
        trials=4 if quick else arguments.trials,
        sample=1 if quick else arguments.sample,
    )
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
