"""Whether a search names the right strategy, and how soon: policies and stopping rules, replayed over recorded trials.

    python benchmarks/search_quality.py --keep                       # the recording of benchmarks/recordings/
    python benchmarks/search_quality.py --recording FILE --replays 20

Each dataset and backbone is searched by each policy, many times, each time with another order of the configurations.
Seconds are those that the trials took when they were recorded; views of a frozen prefix cost them once. It asks:

- named: how often is the strategy with the best finals the best one, or within a point of it on the test images? Every
  strategy's best trial on the validation images has finals, whose scores are the recorded test scores, over up to three
  seeds. "By validation" is the strategy with the best validation score, the answer of a search without finals.
- seconds: when does the answer's finalist come within half a point of the best known test score?
- stopping: the same for rules that stop trials.

Finals cost a replay nothing, and all policies have them, TPE too. What is best is known from the same test images as
the finals, so all shares are too high. Intervals of shares (95 %) are over replays within a dataset and backbone, whose
recorded configurations are given; pooled ones resample datasets and backbones.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import optuna

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.arms import Arms, arms_of
from benchmarks.optuna_policies import CategoryTPE, CombinedTPE, FloorOfTrials
from benchmarks.policies import (
    EqualSeconds,
    EqualTrials,
    MaxUCB,
    PosteriorMax,
    Race,
    RandomChoice,
    RisingBandit,
    SecondsFloor,
    SuccessiveRejects,
    TopTwo,
)
from benchmarks.recordings import RECORDING, Recording, read_recording
from benchmarks.replay import Preference, earlier, lower_loss
from benchmarks.search_outcomes import (
    BUDGETS,
    NEAR,
    Outcomes,
    Search,
    binomial,
    gaps,
    measure,
    median_seconds,
    ratio,
    shares,
)
from benchmarks.stopping_rules import (
    STRATEGY_MEDIAN,
    FixedEpochs,
    MedianRule,
    StoppingRule,
    SuccessiveHalving,
    Unstopped,
)
from frostline.search.space import COMPETING

# Budget of the tables by dataset.
MIDDLE = 1
TODAY, RIVAL, CHANCE = "floor of trials, strategy median (today)", "TPE, median (Optuna)", "random"

POLICIES: dict[str, Search] = {
    CHANCE: Search(lambda arms, seed: RandomChoice(seed), plans=False),
    RIVAL: Search(lambda arms, seed: CategoryTPE(seed), MedianRule(), plans=False),
    "TPE, median, nearest configurations (Optuna)": Search(CombinedTPE, MedianRule(), plans=False, share=0.1),
    TODAY: Search(lambda arms, seed: FloorOfTrials(seed, arms.val_images), STRATEGY_MEDIAN),
    "floor of trials": Search(lambda arms, seed: FloorOfTrials(seed, arms.val_images)),
    "equal trials": Search(lambda arms, seed: EqualTrials(), plans=False),
    "equal seconds": Search(lambda arms, seed: EqualSeconds(), plans=False),
    "MaxUCB": Search(lambda arms, seed: MaxUCB(), plans=False),
    "floor of seconds, MaxUCB": Search(lambda arms, seed: SecondsFloor(0.3, MaxUCB())),
    "posterior maximum": Search(lambda arms, seed: PosteriorMax(seed)),
    "top two": Search(lambda arms, seed: TopTwo(seed)),
    "rising bandit": Search(lambda arms, seed: RisingBandit()),
    "successive rejects": Search(lambda arms, seed: SuccessiveRejects()),
    "race": Search(lambda arms, seed: Race(arms.val_images)),
}
RULES: dict[str, StoppingRule] = {
    "none": Unstopped(),
    "median of all": MedianRule(),
    "median of the strategy (today)": STRATEGY_MEDIAN,
    "1 epoch": FixedEpochs(0.0),
    "1/4 of the epochs": FixedEpochs(0.25),
    "1/2 of the epochs": FixedEpochs(0.5),
    "successive halving": SuccessiveHalving(),
}
# The policy whose trials each rule stops. It trains everything once; others would train the same again and again where
# a rule makes trials cheap.
STOPPED = "equal trials"
TIES: dict[str, Preference] = {"the earlier trial": earlier, "the lower validation log loss": lower_loss}


def add_policies(report: harness.Report, found: Mapping[str, Outcomes], arms: Sequence[Arms]) -> None:
    """Write the tables of the policies."""
    heads = [f"{budget:.0f} s" for budget in BUDGETS]
    table = report.table(
        "Right strategy named, % of replays, all datasets", "search", *heads, "by validation", "trials"
    )
    gap = report.table("Test score below the best known, points, all datasets", "search", *heads)
    for name, own in found.items():
        last = shares(own.means("leads"))[-1]
        table.add(name, *shares(own.means("named")), last, " ".join(f"{each:.0f}" for each in own.trials.mean((0, 1))))
        gap.add(name, *gaps(own.means("gap")))
    datasets = list(dict.fromkeys(each.dataset for each in arms))
    rows = {name: [each.dataset == name for each in arms] for name in datasets}
    named = report.table(f"Right strategy named in {BUDGETS[MIDDLE]:.0f} s, %, by dataset", "search", *datasets)
    near = report.table(
        f"Median seconds until the finalist is within {100 * NEAR:g} points of the best known, by dataset",
        *("search", *datasets, "all", f"come near in {BUDGETS[-1]:.0f} s, %"),
    )
    ratios = report.table(
        f"Mean seconds until then, at most {BUDGETS[-1]:.0f}, divided by another search's",
        *("search", "seconds", "by random's", "by TPE's", "by today's"),
    )
    for name, own in found.items():
        named.add(name, *(binomial(own.named[rows[dataset], :, MIDDLE]) for dataset in datasets))
        each = (median_seconds(own.seconds[rows[dataset]]) for dataset in datasets)
        near.add(name, *each, median_seconds(own.seconds), f"{100 * np.isfinite(own.seconds).mean():.0f}")
        rivals = (found[rival] for rival in (CHANCE, RIVAL, TODAY))
        ratios.add(name, f"{own.capped.mean():.0f}", *(ratio(own, rival) for rival in rivals))


def add_rules(report: harness.Report, arms: Sequence[Arms], replays: int) -> None:
    """Measure the stopping rules, and write their table."""
    heads = [f"{budget:.0f} s" for budget in BUDGETS]
    table = report.table(
        f"Stopping rules, {STOPPED}: right strategy named, %; points below the best known; seconds until near",
        *("rule", *heads, *(f"points, {head}" for head in heads), "seconds", "by none's", "trials"),
    )
    unstopped = None
    for name, rule in RULES.items():
        own = measure(POLICIES[STOPPED]._replace(rule=rule), arms, replays)
        unstopped = unstopped or own
        trials = " ".join(f"{each:.0f}" for each in own.trials.mean((0, 1)))
        points = gaps(own.means("gap"))
        seconds = f"{own.capped.mean():.0f}"
        table.add(name, *shares(own.means("named")), *points, seconds, ratio(own, unstopped), trials)


def add_ties(report: harness.Report, arms: Sequence[Arms], replays: int) -> None:
    """Measure how ties of validation scores are best broken, and write the table."""
    heads = [f"{budget:.0f} s" for budget in BUDGETS]
    table = report.table(
        "Of trials with equal validation scores, the finalist is: right strategy named, %; points below the best known",
        *("finalist", *heads, *(f"points, {head}" for head in heads)),
    )
    for name, preference in TIES.items():
        own = measure(POLICIES[STOPPED], arms, replays, preference)
        table.add(name, *shares(own.means("named")), *gaps(own.means("gap")))


def quality(recording: Recording, arms: Sequence[Arms], replays: int, setting: harness.Setting) -> harness.Report:
    """Replay all searches.

    Args:
        recording: Recorded trials.
        arms: What is searched.
        replays: Number of replays of each dataset and backbone.
        setting: For the head of the report.
    """
    report = harness.Report("search_quality", "Who gets the next trial, and when a trial is stopped.", setting)
    found = {}
    for name, search in POLICIES.items():
        started = time.perf_counter()
        found[name] = measure(search, arms, max(1, round(search.share * replays)))
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    add_policies(report, found, arms)
    add_rules(report, arms, replays)
    add_ties(report, arms, replays)
    pairs = len({trial.cell[:2] for trial in recording.trials})
    complete = [trial for each in arms for trial in each.trials if trial.complete]
    report.notes += [
        f"{len(recording.trials)} trials recorded, {pairs} datasets and backbones; {len(arms)} of them are searched, "
        f"with {len(complete) / len(arms) / len(COMPETING):.1f} complete configurations a strategy.",
        f"{replays} replays of each, and of the nearest configurations a tenth.",
    ]
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--recording", type=Path, default=RECORDING, help="file of recorded trials")
    options.add_argument("--replays", type=int, default=100, help="of each dataset and backbone (%(default)s)")
    options.add_argument("--least", type=int, default=4, help="complete configurations that every strategy must have")
    options.set_defaults(data="recorded", backbone="two", weights="ImageNet", image_size=64)
    arguments = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not arguments.recording.exists():
        raise SystemExit(
            f"Not found: {arguments.recording}. Name a file with --recording, or record trials: "
            "python benchmarks/record_trials.py --records DIR, then with --pack."
        )
    recording = read_recording(arguments.recording)
    arms = arms_of(recording, COMPETING, arguments.least)
    if not arms:
        raise SystemExit(f"No dataset has {arguments.least} configurations of every strategy: lower it with --least.")
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    harness.finish(quality(recording, arms, arguments.replays, chosen), arguments)


if __name__ == "__main__":
    main()
