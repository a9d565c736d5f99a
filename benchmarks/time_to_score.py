"""How long until the best validation score of a bare search is reached?

    python benchmarks/time_to_score.py --keep                                   # hours: 40 trials a side and seed
    python benchmarks/time_to_score.py --trials 10 --seeds 1 --rival-cached     # shorter
    python benchmarks/time_to_score.py --data ../a --more-data ../b ../c --keep

The default mixed-strategy study against a bare search of as many trials: Optuna's default sampler (TPE) and pruner
(median) over the same space, trained by benchmarks/bare.py. Both choose by the same validation images.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import optuna

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import bare, harness
from benchmarks.harness import Report, Setting, at_least
from frostline.objectives.devices import choose_device
from frostline.objectives.networks import BackbonePool
from frostline.search.execution import run_search
from frostline.search.execution.run import SearchInterrupted
from frostline.search.records import TrialRecord
from frostline.search.space import COMPETING, create_space, default_tables, resolve_space
from frostline.search.study import Observer
from frostline.storage.workspace import Workspace

Curve = list[tuple[float, float]]
"""Seconds since the search began, and the score of the trial that ended then."""


def reached(curve: Curve, score: float) -> float | None:
    """Seconds until a score was reached, or None."""
    return next((second for second, value in curve if value >= score), None)


def best(curve: Curve) -> float:
    return max(score for _, score in curve)


def bare_search(setting: Setting, folder: Path, seed: int, trials: int, *, workers: int, cached: bool) -> Curve:
    """A search as it is usually written; the clock begins with the first trial, once it has its files."""
    data = bare.BareData.of(setting.dataset(folder, seed), setting.data, workers=workers, cached=cached)
    pool = BackbonePool(setting.spec)
    space = resolve_space(create_space(default_tables(len(data.train))).only(COMPETING), len(pool.pretrained.units))
    device = choose_device(setting.device)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner()
    )
    curve: Curve = []
    started = time.perf_counter()

    def objective(trial: optuna.Trial) -> float:
        config = space.suggest(trial, trial.suggest_categorical("strategy", list(COMPETING)))

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        score = bare.train(config, data, pool, seed=seed, device=device, on_epoch=report)
        curve.append((time.perf_counter() - started, score))
        return score

    study.optimize(objective, n_trials=trials)
    return curve


class Scores(Observer):
    """What our search reached, and when.

    Args:
        goal: The score at which it is ended; None runs it to its end.

    Attributes:
        curve: Complete trials as they ended.
        spent: Seconds by strategy.
    """

    def __init__(self, goal: float | None = None) -> None:
        self._started = self._last = time.perf_counter()
        self._goal = goal
        self.curve: Curve = []
        self.spent: dict[str, float] = defaultdict(float)

    def trial_finished(self, trial: TrialRecord) -> None:
        now = time.perf_counter()
        self.spent[trial.strategy or "none"] += now - self._last
        self._last = now
        if trial.state == "complete" and trial.score is not None:
            self.curve.append((now - self._started, trial.score))
            if self._goal is not None and trial.score >= self._goal:
                raise KeyboardInterrupt

    def shares(self) -> str:
        """Where the time went, in words."""
        total = sum(self.spent.values())
        return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in self.spent.items())


def our_search(setting: Setting, folder: Path, seed: int, trials: int, goal: float | None = None) -> Scores:
    """The default study, ended once it has reached the goal; the clock begins before anything is decoded."""
    scores = Scores(goal)
    request = setting.request(trials=trials, seed=seed, finals_seeds=1, candidates=1, name="score", metric="accuracy")
    with suppress(SearchInterrupted):
        run_search(request, Workspace(folder), scores)
    return scores


def measure(
    setting: Setting,
    *,
    data: Sequence[str] = (),
    seeds: int = 3,
    trials: int = 40,
    workers: int = 0,
    cached: bool = False,
) -> Report:
    """Both searches on every dataset and seed.

    Args:
        setting: On what; its data if no others are named.
        data: Folders.
        seeds: Of the searches.
        trials: Of each.
        workers: Of the rival's loaders.
        cached: Whether the rival keeps decoded images.
    """
    report = Report("time_to_score", "Seconds until the bare search's best validation score is reached.", setting)
    columns = (
        "seed",
        "bare: best score",
        "after, s",
        "ours: reached, s",
        "our best by then",
        "times faster",
        "ours went",
    )
    table = report.table("Searches", "data", *columns)
    ratios = []
    for folder in data or (setting.data,):
        for seed in range(seeds):
            chosen = replace(setting, data=folder)
            with harness.scratch_folder() as scratch:
                rival = bare_search(chosen, scratch / "bare", seed, trials, workers=workers, cached=cached)
                goal = best(rival)
                ours = our_search(chosen, scratch / "ours", seed, trials, goal)
            theirs, own = reached(rival, goal), reached(ours.curve, goal)
            assert theirs is not None
            ratios.append(theirs / own if own else 0.0)
            when = f"{own:.0f}" if own else "never"
            name = (Path(folder).name, seed, f"{goal:.3f}", f"{theirs:.0f}", when)
            table.add(*name, f"{best(ours.curve):.3f}", f"{ratios[-1]:.2f}", ours.shares())
            print(" | ".join(table.rows[-1]), flush=True)
    target = at_least(4)
    summary = report.table("All", "times faster: median [lowest, highest]", "n", "target", "met")
    summary.add(harness.spread(ratios), len(ratios), target, target.judge(ratios))
    report.notes += [
        f"{trials} trials a side; ours is ended once it has reached the score, and where its time had gone by "
        "then is told by strategy. A score that ours never reached counts as 0 times faster. Ours includes decoding; "
        "the rival's clock starts with its first trial, and its time is the end of the trial that scored best.",
        f"Rival: {workers} workers, {'decoded images in memory' if cached else 'decodes every epoch'}.",
        "Both choose by the same validation images, in the division of the seed.",
    ]
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--more-data", nargs="*", default=[], help="further folders")
    options.add_argument("--seeds", type=int, default=3, help="(%(default)s)")
    options.add_argument("--trials", type=int, default=40, help="of each search (%(default)s)")
    options.add_argument("--rival-workers", type=int, default=0)
    options.add_argument("--rival-cached", action="store_true")
    arguments = options.parse_args()
    report = measure(
        harness.setting(arguments),
        data=(arguments.data, *arguments.more_data),
        seeds=1 if arguments.quick else arguments.seeds,
        trials=5 if arguments.quick else arguments.trials,
        workers=arguments.rival_workers,
        cached=arguments.rival_cached,
    )
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
