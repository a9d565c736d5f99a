"""Multinomial logistic regression: probes on frozen features, and heads that are solved instead of trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Inverse strengths of the regularization, as scikit-learn's C, from strong to weak, as Kumar et al. 2022 try them.
INVERSE_STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-14, 5))
# Folds of the cross-validation by which one of them is chosen, ...
FOLDS = 5
# ... which ends after so many weaker ones in a row without a lower loss.
PATIENCE = 4
# The one that is taken where there are too few images to choose by: as good as a choice on most of real datasets.
USUAL = INVERSE_STRENGTHS.index(1e-2)
# A solution is accurate enough at this distance from the minimum, in nats per image, ...
TOLERANCE = 1e-5
# ... or if an iteration lowers the objective by less.
LEAST_GAIN = 1e-9


def solve_probe(features: Tensor, labels: Tensor, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Choose a strength and fit with it: weight (K, D) and bias (K,) for features as they are.

    Features are standardized (:func:`standardization`), and the solution is transformed back.

    Args:
        features: Features of the training images, float64 (N, D).
        labels: Their classes, int64 (N,), on the same device.
        classes: Number of classes K.
        seed: Seed of the folds.
    """
    mean, deviation = standardization(features)
    standard, whole = within_span((features - mean) / deviation)
    chosen = choose_strength(standard, labels, classes, seed)
    *_, (weight, bias) = islice(regularization_path(standard, labels, classes), chosen + 1)
    weight = whole(weight) / deviation
    return weight, bias - weight @ mean


def within_span(features: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Features (N, D) in an orthonormal basis of their span, (N, N) where N < D; and what makes of weights (K, N) in
    that basis those (K, D) of the features.

    With fewer images than features, the weights of every minimum lie in the span of the images (the representer
    theorem: Schölkopf, Herbrich & Smola 2001, "A generalized representer theorem"): as many weights are enough.
    """
    if len(features) >= features.shape[1]:
        return features, lambda weight: weight
    basis, coordinates = torch.linalg.qr(features.T)
    return coordinates.T.contiguous(), lambda weight: weight @ basis.T


def standardization(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means (D,) and shrunken standard deviations (D,) of features (N, D).

    The variance of each feature is averaged with the mean variance of all: few images know a variance badly (compare
    Opgen-Rhein & Strimmer 2007, "Accurate ranking of differentially expressed genes by a distribution-free shrinkage
    approach"). A feature that hardly varies in the training images would else be blown up, and decide alone about a new
    image in which it does vary. ``benchmarks/exact_probe.py`` measures what it is worth.
    """
    variance = features.var(dim=0, correction=0)
    return features.mean(dim=0), ((variance + variance.mean()) / 2).sqrt().clamp(min=1e-8)


def choose_strength(features: Tensor, labels: Tensor, classes: int, seed: int = 0) -> int:
    """Position in :data:`INVERSE_STRENGTHS` of the lowest cross-validated log loss, from strong to weak regularization.

    scikit-learn's ``LogisticRegressionCV`` chooses so with ``scoring="neg_log_loss"``. An image counts if its class has
    images in the other folds; if none does, the position is :data:`USUAL`.

    Args:
        features: Standardized features, float64 (N, D).
        labels: Their classes, int64 (N,), on the same device.
        classes: Number of classes K.
        seed: Seed of the folds.
    """
    splits = _folds(labels, seed)
    paths = [regularization_path(features[fitted], labels[fitted], classes) for fitted, _ in splits]
    losses: list[float] = []
    for solutions in zip(*paths, strict=True):
        pairs = zip(solutions, splits, strict=True)
        losses.append(sum(_log_loss(solution, features[held], labels[held]) for solution, (_, held) in pairs))
        if len(losses) - losses.index(min(losses)) > PATIENCE:
            break
    return losses.index(min(losses)) if losses else USUAL


def _folds(labels: Tensor, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Positions of the images that are fitted and of those that are held out, with the same share of each class."""
    images = torch.arange(len(labels), device=labels.device)
    shuffled = images[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)]
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty_like(images)
    fold[by_class] = images % FOLDS
    splits = [(images[fold != each], images[fold == each]) for each in range(FOLDS)]
    known = [(fitted, held[torch.isin(labels[held], labels[fitted])]) for fitted, held in splits]
    return [(fitted, held) for fitted, held in known if len(held)]


def _log_loss(solution: tuple[Tensor, Tensor], features: Tensor, labels: Tensor) -> float:
    """Sum of the images' log losses, in nats."""
    weight, bias = solution
    return float(F.cross_entropy(features @ weight.T + bias, labels, reduction="sum"))


def regularization_path(features: Tensor, labels: Tensor, classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Solutions for all of :data:`INVERSE_STRENGTHS`, from strong to weak regularization.

    Each starts from the linear extrapolation of the two solutions before it. All are found :func:`within_span`.

    Args:
        features: Standardized features, float64 (N, D).
        labels: Labels, int64 (N,).
        classes: Number of classes K; not every class needs an image.

    Yields:
        Weight (K, D) and bias (K,).
    """
    features, whole = within_span(features)
    current = previous = features.new_zeros(classes, features.shape[1]), features.new_zeros(classes)
    for strength in INVERSE_STRENGTHS:
        start = previous[0].lerp(current[0], 2.0), previous[1].lerp(current[1], 2.0)
        previous, current = current, fit_logistic_regression(features, labels, strength, start)
        yield whole(current[0]), current[1]


def fit_logistic_regression(
    features: Tensor, labels: Tensor, strength: float, start: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Minimize strength * sum of cross-entropies + |W|^2 / 2 by L-BFGS: scikit-learn's objective with C = strength.

    Two classes have two rows of weights here, and |W|^2 in place of |W|^2 / 2: scikit-learn penalizes the difference of
    the two rows, whose square is 2 |W|^2 for the opposite rows of the minimum.
    SciPy's L-BFGS-B steps on the CPU; the objective is computed where the features are, in their precision.

    Args:
        features: Features (N, D), float64; float32 takes half of the time and gives probabilities to some 1e-5.
        labels: Labels, int64 (N,).
        strength: Inverse strength of the regularization.
        start: Initial weight (K, D) and bias (K,).

    Returns:
        Weight (K, D) and bias (K,).

    Example:
        >>> import torch
        >>> from frostline.objectives.logistic_regression import fit_logistic_regression
        >>> features, labels = torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0, 1])
        >>> start = torch.zeros(2, 1).double(), torch.zeros(2).double()
        >>> weight, bias = fit_logistic_regression(features, labels, 1.0, start)
        >>> (features @ weight.T + bias).argmax(dim=1).tolist()
        [0, 1]
    """
    # Imported here: no other strategy needs it, and it takes 0.2 s.
    from scipy.optimize import OptimizeResult, minimize

    objective = _Objective(features, labels, strength, len(start[1]))

    def stop_at_minimum(intermediate_result: OptimizeResult) -> None:
        if objective.distance <= TOLERANCE:
            raise StopIteration

    variables, options = objective.to_variables(*start), {"gtol": 0.0, "ftol": LEAST_GAIN}
    solved = minimize(objective, variables, jac=True, method="L-BFGS-B", callback=stop_at_minimum, options=options)
    return objective.to_solution(solved.x)


class _Objective:
    """Mean cross-entropy + penalty * |W|^2 / 2, in variables scaled to similar curvature.

    A variable is a weight or bias times the square root of its second derivative where all classes are equally
    probable. L-BFGS in these variables is L-BFGS with a diagonal preconditioner.

    Args:
        features: Features, float64 (N, D).
        labels: Labels, int64 (N,).
        strength: Inverse strength of the regularization: the penalty is 1 / (strength * N), and 2 / (strength * N) for
            two classes.
        classes: Number of classes K.

    Attributes:
        distance: Estimated distance of the last value from the minimum, in nats per image. The weights' part is
            |gradient|^2 / (2 * penalty), an upper bound for the best biases (Boyd & Vandenberghe 2004, section 9.1.2).
            The biases have no penalty, so theirs is what a Newton step on each alone would gain.
    """

    def __init__(self, features: Tensor, labels: Tensor, strength: float, classes: int) -> None:
        self._features, self._labels, self._images = features, labels, torch.arange(len(labels), device=labels.device)
        self._penalty = (2 if classes == 2 else 1) / (strength * len(labels))
        curvature = features.square().mean(dim=0) / classes + self._penalty
        self._scale = torch.cat([curvature, curvature.new_tensor([1 / classes])]).sqrt()
        self.distance = np.inf

    def __call__(self, variables: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The objective and its gradient by the variables, both (K * (D + 1),)."""
        weight, bias = self.to_solution(variables)
        log_probabilities = (self._features @ weight.T + bias).log_softmax(dim=1)
        residual = log_probabilities.exp()
        bias_curvature = (residual * (1 - residual)).mean(dim=0)
        residual[self._images, self._labels] -= 1
        residual /= len(residual)
        weight_gradient, bias_gradient = residual.T @ self._features + self._penalty * weight, residual.sum(dim=0)
        newton_gain = bias_gradient.square() / (2 * bias_curvature.clamp(min=torch.finfo(bias.dtype).tiny))
        self.distance = float(weight_gradient.square().sum() / (2 * self._penalty) + newton_gain.sum())
        loss = F.nll_loss(log_probabilities, self._labels) + self._penalty * weight.square().sum() / 2
        gradient = torch.cat([weight_gradient, bias_gradient[:, None]], dim=1) / self._scale
        return float(loss), gradient.flatten().double().cpu().numpy()

    def to_variables(self, weight: Tensor, bias: Tensor) -> NDArray[np.float64]:
        return (torch.cat([weight, bias[:, None]], dim=1) * self._scale).flatten().double().cpu().numpy()

    def to_solution(self, variables: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Weight (K, D) and bias (K,)."""
        scaled = torch.from_numpy(variables).to(self._scale).view(-1, len(self._scale)) / self._scale
        return scaled[:, :-1], scaled[:, -1]
