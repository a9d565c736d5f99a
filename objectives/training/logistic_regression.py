"""Heads that are solved instead of trained: multinomial logistic regression on frozen features."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TrialConfig
from ..epochs import EpochResult, OnEpoch
from ..features.feature_source import FeatureSource
from ..metrics import score
from ..networks.network import Network
from .loop import PhaseData, validate

# Inverse strengths of the regularisation, as scikit-learn's C, tried from strong to weak (Kumar et al. 2022 do so).
INVERSE_STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-14, 5))


def solve_logistic_regression(
    network: Network,
    config: TrialConfig,
    data: PhaseData,
    first_epoch: int,
    on_epoch: OnEpoch,
) -> list[EpochResult]:
    """Solve the head for every strength, keep the one that validates best, and write it into the linear layer.

    Features are standardised with the training images' mean and deviation; the solution is folded back, so that the
    head takes the features as they are.
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
    """What the head's linear layer sees of a split, (N, D) float64; on the CPU where the device has no float64."""
    network.eval()
    before_output = network.pooled_head[:-1]
    chunks = (source.batch(positions, 0) for positions in torch.arange(len(source)).split(256))
    features = torch.cat([before_output(chunk).float() for chunk in chunks])
    return (features.cpu() if features.device.type == "mps" else features).double()


def fit_logistic_regression(
    features: Tensor, labels: Tensor, strength: float, start: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Minimise strength * sum of cross-entropies + |W|^2 / 2 by LBFGS: scikit-learn's objective, C = strength.

    Args:
        features: (N, D) float64.
        labels: (N,).
        strength: Inverse of the regularisation.
        start: Weight (K, D) and bias (K,) to begin from.

    Returns:
        Weight (K, D) and bias (K,).
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
