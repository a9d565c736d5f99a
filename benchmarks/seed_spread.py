"""How much scores vary with the seed of a training, in recorded trials: what the verdict's prior is made of.

    python benchmarks/seed_spread.py --keep
    python benchmarks/seed_spread.py --recording FILE

Configurations that were recorded with several seeds are compared on their test images. The configurations of one number
on one dataset and backbone are taken as the finals of a study: the logarithms of their strategies' standard deviations
are normal around a value that the study's strategies have in common, and the logarithms of these are normal over
studies. The parameters with the largest likelihood are found on a grid.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.recordings import RECORDING, RecordedTrial, Recording, read_recording
from frostline.search.analysis.seed_spread import (
    COMMON,
    MEDIAN,
    SPREADS,
    UNLIKENESS,
    WIDTH,
    log_normal,
    spread_likelihood,
)

Floats = NDArray[np.float64]
# Strategies of a study: dataset, backbone, number of the configurations.
Study = tuple[str, str, int]
UNLIKE = (0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0)
MEDIANS = np.geomspace(0.004, 0.06, 25)
WIDTHS = (0.1, 0.25, 0.4, 0.6, 0.9)


def seeds_by_study(recording: Recording) -> dict[Study, dict[str, list[RecordedTrial]]]:
    """Return the complete trials of configurations with several seeds, by study and strategy."""
    found: dict[Study, dict[str, list[RecordedTrial]]] = defaultdict(lambda: defaultdict(list))
    for trial in recording.trials:
        if trial.complete:
            found[trial.dataset, trial.backbone, trial.number][trial.strategy].append(trial)
    several = {
        study: {strategy: trials for strategy, trials in own.items() if len(trials) > 1} for study, own in found.items()
    }
    return {study: own for study, own in several.items() if own}


def scores_and_residual(trials: list[RecordedTrial], labels: NDArray[np.uint8]) -> tuple[Floats, float]:
    """Return the test scores of several seeds, and their variance that the choice of the test images explains."""
    right = np.array([trial.test_predictions == labels for trial in trials], np.float64)
    apart = right - right.mean(axis=0)
    seeds, images = right.shape
    return right.mean(axis=1), float(apart.var(axis=1).sum() / (seeds - 1) / images)


class Parameters(NamedTuple):
    """Parameters of the model.

    Attributes:
        median: Median of the common standard deviations of studies, as a share of 1.
        width: Standard deviation of their logarithms over studies.
        unlikeness: Standard deviation of a strategy's logarithm around its study's.
    """

    median: float
    width: float
    unlikeness: float


PRIOR = Parameters(MEDIAN, WIDTH, UNLIKENESS)


def log_likelihood(studies: list[list[Floats]], parameters: Parameters) -> float:
    """Return the logarithm of the likelihood.

    Args:
        studies: By study, the likelihood of each strategy's scores under each of ``SPREADS``.
        parameters: Parameters of the model.
    """
    within = log_normal(SPREADS, COMMON[:, None], parameters.unlikeness)
    prior = log_normal(COMMON, parameters.median, parameters.width)
    common = [np.log(within @ np.array(study).T).sum(axis=1) for study in studies]
    return sum(float(np.log(prior @ np.exp(each - each.max())) + each.max()) for each in common)


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--recording", type=Path, default=RECORDING, help="file of recorded trials")
    options.set_defaults(data="recorded", backbone="recorded", weights="recorded", image_size=64)
    arguments = options.parse_args()
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("seed_spread", "How much scores vary with the seed of a training.", chosen)
    recording = read_recording(arguments.recording)
    studies = seeds_by_study(recording)
    likelihoods, spreads = [], defaultdict(list)
    for (dataset, _, _), strategies in studies.items():
        labels = recording.labels(dataset, "test")
        measured = {name: scores_and_residual(trials, labels) for name, trials in strategies.items()}
        likelihoods.append([spread_likelihood(*each) for each in measured.values()])
        for name, (scores, residual) in measured.items():
            spreads[name].append(max(0.0, scores.var(ddof=1) - residual))
    grid = [Parameters(float(median), *others) for median, *others in product(MEDIANS, WIDTHS, UNLIKE)]
    found = {each: log_likelihood(likelihoods, each) for each in (*grid, PRIOR)}
    best = max(grid, key=lambda each: found[each])
    table = report.table(
        f"{len(studies)} studies, {sum(map(len, studies.values()))} configurations with several seeds",
        *("", "median, points", "sd of its logarithm over studies", "sd of a strategy's logarithm within a study"),
        "log likelihood below the largest",
    )
    for name, each in (("most likely", best), ("the verdict's prior", PRIOR)):
        below = f"{found[best] - found[each]:.1f}"
        table.add(name, f"{100 * each.median:.1f}", f"{each.width:g}", f"{each.unlikeness:g}", below)
    by_strategy = report.table(
        "By strategy", "strategy", "configurations", "root mean square of the standard deviation, points"
    )
    for name, variances in spreads.items():
        by_strategy.add(name, len(variances), f"{100 * np.sqrt(np.mean(variances)):.1f}")
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
