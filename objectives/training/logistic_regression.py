"""Multinomial logistic regression on frozen features: heads that are solved instead of trained."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TrialConfig
from ..epochs import EpochResult, OnEpoch
from ..features import FeatureSource
from ..metrics import score
from ..networks import Network
from .loop import PhaseData, validate

# Inverse strengths of the regularization, as scikit-learn's C, from strong to weak, as Kumar et al. 2022 try them.
INVERSE_STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-14, 5))


def solve_logistic_regression(
    network: Network,
    config: TrialConfig,
    data: PhaseData,
    first_epoch: int,
    on_epoch: OnEpoch,
) -> list[EpochResult]:
    """Solve the head for every strength, and write the solution with the best validation score into its linear layer.

    Features are standardized by mean and standard deviation of the training images; the solution is transformed back,
    so that the head takes features as they are.

    Args:
        network: Network with a linear head; all units are frozen.
        config: Configuration of the trial.
        data: Inputs of the phase.
        first_epoch: Number of the phase's epoch within the trial.
        on_epoch: Called with the result of the phase.

    Returns:
        The result of the phase's only epoch.
    """
    started = time.perf_counter()
    output = network.head[-1]
    assert isinstance(output, nn.Linear)
    train, val = pooled_features(network, data.train), pooled_features(network, data.val)
    labels, val_labels = data.train.labels.to(train.device), data.val.labels.cpu().numpy()
    mean, deviation = train.mean(dim=0), train.std(dim=0, correction=0).clamp(min=1e-8)
    standard, val_standard = (train - mean) / deviation, (val - mean) / deviation
    weight, bias = train.new_zeros(output.out_features, train.shape[1]), train.new_zeros(output.out_features)
    best = (-1.0, weight, bias, 0.0)
    for strength in INVERSE_STRENGTHS:
        weight, bias = fit_logistic_regression(standard, labels, strength, (weight, bias))
        probabilities = (val_standard @ weight.T + bias).softmax(dim=1).cpu().numpy()
        reached = score(data.metric, probabilities, val_labels)
        if reached > best[0]:
            train_loss = float(F.cross_entropy(standard @ weight.T + bias, labels))
            best = (reached, weight, bias, train_loss)
    _, weight, bias, train_loss = best
    with torch.no_grad():
        output.weight.copy_(weight / deviation)
        output.bias.copy_(bias - (weight / deviation) @ mean)
    val_loss, val_score = validate(network, data)
    result = EpochResult(
        first_epoch, network.phase.name, train_loss, val_loss, val_score, {}, time.perf_counter() - started
    )
    on_epoch(result)
    return [result]


@torch.no_grad()
def pooled_features(network: Network, source: FeatureSource) -> Tensor:
    """Inputs of the head's linear layer for a split, float64 (N, D); on the CPU where the device has no float64."""
    network.eval()
    before_output = network.pooled_head[:-1]
    chunks = (source.batch(positions, 0) for positions in torch.arange(len(source)).split(256))
    features = torch.cat([before_output(chunk).float() for chunk in chunks])
    return (features.cpu() if features.device.type == "mps" else features).double()


def fit_logistic_regression(
    features: Tensor, labels: Tensor, strength: float, start: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Minimize strength * sum of cross-entropies + |W|^2 / 2 by L-BFGS: scikit-learn's objective with C = strength.

    Args:
        features: Features, float64 (N, D).
        labels: Labels, int64 (N,).
        strength: Inverse strength of the regularization.
        start: Initial weight (K, D) and bias (K,).

    Returns:
        Weight (K, D) and bias (K,).

    Example:
        >>> import torch
        >>> from frostline.objectives.training.logistic_regression import fit_logistic_regression
        >>> features, labels = torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0, 1])
        >>> start = torch.zeros(2, 1).double(), torch.zeros(2).double()
        >>> weight, bias = fit_logistic_regression(features, labels, 1.0, start)
        >>> (features @ weight.T + bias).argmax(dim=1).tolist()
        [0, 1]
    """
    weight, bias = (tensor.clone().requires_grad_() for tensor in start)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        ridge = weight.square().sum() / (2 * strength * len(features))
        loss = F.cross_entropy(features @ weight.T + bias, labels) + ridge
        loss.backward()
        return loss

    solver.step(closure)  # pyright: ignore[reportArgumentType]
    return weight.detach(), bias.detach()
