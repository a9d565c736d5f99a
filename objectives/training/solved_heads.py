"""Heads that are solved instead of trained, by logistic regression on the features of frozen units."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TrialConfig
from ..epochs import EpochResult, OnEpoch
from ..errors import TrainingFailedError
from ..features import FeatureSource
from ..logistic_regression import solve_probe
from ..networks import Network
from .loop import PhaseData, validate


def solve_logistic_regression(
    network: Network,
    config: TrialConfig,
    data: PhaseData,
    first_epoch: int,
    on_epoch: OnEpoch,
) -> list[EpochResult]:
    """Solve the head, and write the solution into its linear layer. Validation images choose nothing.

    Args:
        network: Network with a linear head; all units are frozen.
        config: Configuration of the trial.
        data: Inputs of the phase.
        first_epoch: Number of the phase's epoch within the trial.
        on_epoch: Called with the result of the phase.

    Returns:
        The result of the phase's only epoch.

    Raises:
        TrainingFailedError: A feature is not finite.
    """
    started = time.perf_counter()
    output = network.head[-1]
    assert isinstance(output, nn.Linear)
    train = pooled_features(network, data.train)
    labels = data.train.labels.to(train.device)
    weight, bias = solve_probe(train, labels, output.out_features, data.seed)
    train_loss = float(F.cross_entropy(train @ weight.T + bias, labels))
    with torch.no_grad():
        output.weight.copy_(weight)
        output.bias.copy_(bias)
    val_loss, val_score = validate(network, data)
    result = EpochResult(
        first_epoch, network.phase.name, train_loss, val_loss, val_score, {}, time.perf_counter() - started
    )
    on_epoch(result)
    return [result]


@torch.no_grad()
def pooled_features(network: Network, source: FeatureSource) -> Tensor:
    """Inputs of the head's linear layer for a split, float64 (N, D); on the CPU where the device has no float64.

    Raises:
        TrainingFailedError: A feature is not finite.
    """
    network.eval()
    before_output = network.pooled_head[:-1]
    chunks = (source.batch(positions, 0) for positions in torch.arange(len(source)).split(256))
    features = torch.cat([before_output(chunk.float()) for chunk in chunks])
    if not features.isfinite().all():
        raise TrainingFailedError("the frozen units give features that are not finite: check the backbone's weights")
    return (features.cpu() if features.device.type == "mps" else features).double()
