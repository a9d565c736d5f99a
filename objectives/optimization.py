"""Optimizers, parameter groups and learning-rate schedules of a phase."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn, optim

from .config import TrialConfig
from .network import Network

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


def parameter_groups(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Groups by part and rate, each with and without weight decay; every trainable parameter is in exactly one.

    Each group is named ``head``, ``backbone`` where all units share a rate, or ``unit 07``, and bears its ``peak``
    rate.
    """
    phase = network.phase
    layerwise = len({rate for rate in phase.unit_learning_rates if rate > 0}) > 1
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.trainable():
        part, rate = "head", phase.head_learning_rate
        if not name.startswith("head."):
            unit, rate = network.unit_rate(name)
            part = f"unit {unit:02d}" if layerwise else "backbone"
        decay = decays(name, parameter) and (part == "head" or phase.decays_backbone)
        groups.setdefault((part, rate, decay), []).append(parameter)
    return [
        {"name": part, "params": parameters, "lr": rate, "peak": rate, "weight_decay": weight_decay if decay else 0.0}
        for (part, rate, decay), parameters in groups.items()
    ]


def create_optimizer(config: TrialConfig, network: Network) -> optim.Optimizer:
    """A new optimizer over what a phase trains; nothing carries over from an earlier phase."""
    groups = parameter_groups(network, config.weight_decay)
    if config.optimizer == "sgd":
        return optim.SGD(groups, lr=network.phase.head_learning_rate, momentum=0.9, nesterov=True)
    return optim.AdamW(groups, lr=network.phase.head_learning_rate)


class Optimisation:
    """An optimizer under a schedule: linear warm-up from near 0, then the configured shape.

    Args:
        config: The trial's.
        network: Of the first phase that it trains.
        steps: Of all phases that it trains.
    """

    def __init__(self, config: TrialConfig, network: Network, steps: int) -> None:
        self._config = config
        self._steps = steps
        self._warmup = round(config.warmup * steps)
        self._done = 0
        self.optimizer = create_optimizer(config, network)
        self._set_rates()

    def extend(self, network: Network) -> None:
        """Take in what a further phase trains besides; the state of the rest stays."""
        known = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        for group in parameter_groups(network, self._config.weight_decay):
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
            if group["params"]:
                self.optimizer.add_param_group(group)
        self._set_rates()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One step of the optimizer at the present rates, then the next rates."""
        self.optimizer.step()
        self._done += 1
        self._set_rates()

    def learning_rates(self) -> dict[str, float]:
        """Present rate of each part."""
        return {group["name"]: float(group["lr"]) for group in self.optimizer.param_groups}

    def _set_rates(self) -> None:
        factor = self._factor()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def _factor(self) -> float:
        if self._done < self._warmup:
            return (self._done + 1) / (self._warmup + 1)
        progress = (self._done - self._warmup) / max(1, self._steps - self._warmup)
        return SCHEDULES[self._config.schedule](min(1.0, progress))
