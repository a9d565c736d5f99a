"""Optimizers, parameter groups and learning-rate schedules of a phase."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

from .config import TrialConfig
from .network import Network
from .strategies import Phase

# Weight decay pulls towards zero, which means nothing for scales, offsets and embeddings of positions.
_NO_DECAY_NAMES = ("bias", "class_token", "pos_embedding", "position")
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not to vectors (biases, norms) and embeddings."""
    return parameter.ndim > 1 and not any(part in name for part in _NO_DECAY_NAMES)


def parameter_groups(network: Network, phase: Phase, weight_decay: float) -> list[dict[str, Any]]:
    """Head and backbone groups, each with and without weight decay; every trainable parameter is in exactly one."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in network.trainable():
        part = "head" if name.startswith("head.") else "backbone"
        groups.setdefault((part, decays(name, parameter)), []).append(parameter)
    rates = {"head": phase.head_learning_rate, "backbone": phase.backbone_learning_rate}
    return [
        {"name": part, "params": parameters, "lr": rates[part], "weight_decay": weight_decay if decay else 0.0}
        for (part, decay), parameters in groups.items()
    ]


def create_optimizer(config: TrialConfig, phase: Phase, network: Network) -> optim.Optimizer:
    """A new optimizer over what this phase trains; nothing carries over from an earlier phase."""
    groups = parameter_groups(network, phase, config.weight_decay)
    if config.optimizer == "sgd":
        return optim.SGD(groups, lr=phase.head_learning_rate, momentum=0.9, nesterov=True)
    return optim.AdamW(groups, lr=phase.head_learning_rate)


def create_schedule(config: TrialConfig, optimizer: optim.Optimizer, steps: int) -> LambdaLR:
    """Linear warm-up from near 0, then the configured shape, over a phase of so many steps."""
    warmup = round(config.warmup * steps)
    shape = SCHEDULES[config.schedule]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return shape((step - warmup) / max(1, steps - warmup))

    return LambdaLR(optimizer, factor)


def learning_rates(optimizer: optim.Optimizer) -> dict[str, float]:
    """Present rate of each part (``head``, ``backbone``)."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}
