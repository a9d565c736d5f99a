"""The head that is solved instead of trained, over 19 regularization strengths: before, now, and by scikit-learn.

    python benchmarks/logistic_regression.py --keep                    # a quarter of an hour
    python benchmarks/logistic_regression.py --older COMMIT            # beside the solver of another commit

User and system time of one core, all ways in turn. Objectives are means per image, as differences from the lowest that
any way reaches at that strength; one of the ways, not timed, is scikit-learn's Newton method with a tight tolerance.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, at_least
from frostline.objectives.config import create_config
from frostline.objectives.finetune import phase_data
from frostline.objectives.logistic_regression import (
    INVERSE_STRENGTHS,
    regularization_path,
)
from frostline.objectives.networks import Network, create_head
from frostline.objectives.strategies import plan_phases
from frostline.objectives.training.solved_heads import pooled_features

MODULE = "objectives/training/logistic_regression.py"
NOW, BEFORE, EXACT = "now", "before", "exact"
Solution = tuple[Tensor, Tensor]
Fit = Callable[[Tensor, Tensor, float, Solution], Solution]


@dataclass(frozen=True)
class Problem:
    """Standardized features and labels.

    Attributes:
        name: Where the features are from.
        train: Features, float64 (N, D).
        labels: Labels, int64 (N,).
        val: Features of the validation images, float64 (M, D).
        val_labels: Their labels, int64 (M,).
    """

    name: str
    train: Tensor
    labels: Tensor
    val: Tensor
    val_labels: Tensor

    @classmethod
    def of(cls, name: str, features: Sequence[Tensor], labels: Sequence[Tensor]) -> Problem:
        """Standardize features of training and validation images, by the training images."""
        train, val = features
        mean, deviation = train.mean(dim=0), train.std(dim=0, correction=0).clamp(min=1e-8)
        return cls(name, (train - mean) / deviation, labels[0], (val - mean) / deviation, labels[1])

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def __str__(self) -> str:
        return f"{self.name}: {len(self.train):,} x {self.train.shape[1]:,}, {self.classes} classes"

    def objective(self, solution: Solution, strength: float) -> float:
        """Mean cross-entropy of the training images + |W|^2 / (2 * strength * N)."""
        weight, bias = solution
        loss = F.cross_entropy(self.train @ weight.T + bias, self.labels)
        return float(loss + weight.square().sum() / (2 * strength * len(self.train)))

    def accuracy(self, solution: Solution) -> float:
        weight, bias = solution
        return float(((self.val @ weight.T + bias).argmax(dim=1) == self.val_labels).double().mean())


def photos(setting: Setting, images: int) -> Problem:
    """Pooled features of a backbone's pretrained units, of so many training images at most and of the validation's."""
    with harness.scratch_folder() as folder:
        task = setting.task(setting.dataset(folder))
        config = create_config({"strategy": "linear_probe_exact"})
        backbone = task.backbones.fresh(pretrained=True, seed=0)
        head = create_head(config.head, backbone.units[-1].output_shape, len(task.train.classes))
        network = Network(backbone, plan_phases(config, len(backbone.units))[0], head)
        data = phase_data(network, config, task, 0)
        train, val = (pooled_features(network, source) for source in (data.train, data.val))
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:images]
    name = f"{Path(setting.data).name}, {setting.backbone}"
    return Problem.of(name, (train[drawn], val), (data.train.labels[drawn], data.val.labels))


def synthetic(images: int, width: int, classes: int) -> Problem:
    """Rectified mixtures of 48 factors, whose means tell the class, and noise; as many validation images."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.permutation(2 * images) % classes)
    factors = rng.normal(size=(2 * images, 48)) + 0.7 * rng.normal(size=(classes, 48))[labels]
    mixed = factors @ rng.normal(size=(48, width)) / 7 + 0.2 * rng.normal(size=(2 * images, width))
    features = torch.from_numpy(np.maximum(mixed, 0))
    return Problem.of("synthetic", features.split(images), labels.split(images))


def solver_of(commit: str) -> Fit:
    """The function that a commit of this repository solves one strength with.

    Raises:
        SystemExit: This is no checkout with that commit.
    """
    root = Path(__file__).parents[1]
    found = subprocess.run(["git", "show", f"{commit}:{MODULE}"], cwd=root, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"{found.stderr.strip()}\nName a commit that has {MODULE} with --older.")
    # Named as a neighbor of today's module, so that its relative imports are found.
    module = ModuleType("frostline.objectives.training.older_logistic_regression")
    module.__package__ = "frostline.objectives.training"
    exec(compile(found.stdout, f"{commit}:{MODULE}", "exec"), vars(module))  # noqa: S102
    return module.fit_logistic_regression


def before(problem: Problem, fit: Fit) -> list[Solution]:
    """Each strength starts at the solution before it."""
    solution = torch.zeros(problem.classes, problem.train.shape[1]).double(), torch.zeros(problem.classes).double()
    solutions = []
    for strength in INVERSE_STRENGTHS:
        solution = fit(problem.train, problem.labels, strength, solution)
        solutions.append(solution)
    return solutions


def scikit_learn(problem: Problem, solver: str, tolerance: float) -> list[Solution]:
    """Likewise; tolerances are scikit-learn's."""
    model = LogisticRegression(solver=solver, tol=tolerance, max_iter=10_000, warm_start=True)
    solutions = []
    for strength in INVERSE_STRENGTHS:
        model.set_params(C=strength).fit(problem.train.numpy(), problem.labels.numpy())
        solutions.append((torch.tensor(model.coef_), torch.tensor(model.intercept_)))
    return solutions


def measure(setting: Setting, problems: Sequence[Problem], older: Fit) -> Report:
    """All ways on all problems.

    Args:
        setting: How often, and what the features of photos are from.
        problems: Three classes or more each.
        older: Solves one strength, as before.
    """
    report = Report(
        "logistic_regression",
        "19 regularization strengths are solved in a tenth of the time before, to 0.001 of scikit-learn's objective.",
        setting,
    )
    for problem in problems:
        _compare(report, problem, older)
    report.notes.append(
        "User and system time of one process. Difference: of the objective, mean per image, from the lowest that any "
        "way reaches, the largest of 19. Accuracy: on the validation images, the best of 19; the largest gap is that "
        "to the exact way's at the same strength."
    )
    return report


def _compare(report: Report, problem: Problem, older: Fit) -> None:
    ways: dict[str, Callable[[], list[Solution]]] = {
        NOW: lambda: list(regularization_path(problem.train, problem.labels, problem.classes)),
        BEFORE: lambda: before(problem, older),
        "scikit-learn, lbfgs, tol 1e-4": lambda: scikit_learn(problem, "lbfgs", 1e-4),
        "scikit-learn, lbfgs, tol 1e-6": lambda: scikit_learn(problem, "lbfgs", 1e-6),
        "scikit-learn, newton-cg, tol 1e-4": lambda: scikit_learn(problem, "newton-cg", 1e-4),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    solutions: dict[str, list[Solution]] = {EXACT: scikit_learn(problem, "newton-cg", 1e-7)}
    for _ in range(report.setting.pairs):
        for name, solve in ways.items():
            began = time.process_time()
            solutions[name] = solve()
            taken[name].append(time.process_time() - began)
    objectives = {
        name: np.array([problem.objective(*pair) for pair in zip(found, INVERSE_STRENGTHS, strict=True)])
        for name, found in solutions.items()
    }
    lowest = np.min(list(objectives.values()), axis=0)
    accuracies = {name: np.array([problem.accuracy(each) for each in found]) for name, found in solutions.items()}
    columns = ("way", "time, s", "times as fast now", "n", "target", "met", "difference", "accuracy", "largest gap")
    table = report.table(str(problem), *columns)
    for name in solutions:
        ratios = [theirs / ours for theirs, ours in zip(taken.get(name, ()), taken[NOW], strict=False)]
        target = at_least(10)
        cells = (harness.spread(taken[name]), harness.spread(ratios), len(ratios)) if ratios else ("not timed", "", "")
        judged = (target, target.judge(ratios)) if name == BEFORE else ("", "")
        largest = np.abs(accuracies[name] - accuracies[EXACT]).max()
        difference = (objectives[name] - lowest).max()
        table.add(name, *cells, *judged, f"{difference:.0e}", f"{accuracies[name].max():.3f}", f"{largest:.3f}")
    print(f"{problem}: {statistics.median(taken[BEFORE]) / statistics.median(taken[NOW]):.1f}", flush=True)


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--older", default="3414b04", metavar="COMMIT", help="whose solver is before (%(default)s)")
    options.set_defaults(data=str(harness.SHARED / "data/eurosat"), threads=1)
    arguments: argparse.Namespace = options.parse_args()
    older = solver_of(arguments.older)
    chosen = harness.setting(arguments)
    sizes = [(40, 32, 3)] if chosen.quick else [(200, 512, 5), (3000, 512, 100)]
    problems = [photos(chosen, 60 if chosen.quick else 1230), *(synthetic(*size) for size in sizes)]
    warnings.simplefilter("ignore")  # Line searches that end at rounding errors, where tolerances are tight.
    with threadpool_limits(chosen.threads or None):
        report = measure(chosen, problems, older)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
