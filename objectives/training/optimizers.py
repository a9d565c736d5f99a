"""Optimizers of a phase: parameter groups, learning-rate schedules, gradient clipping and averaging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn, optim

from ..config import TrialConfig
from ..networks import Network
from .ema import WeightAverage

# No weight decay: a pull toward zero makes no sense for scales, offsets and position embeddings.
# These are torchvision's names of the latter; other networks name their own (objectives/backbones/undecayed.py).
_NO_DECAY_NAMES = ("bias", "class_token", "pos_embedding", "position")
# One-cycle policy: share of the steps that rise, and the rates at start and end as shares of the peak.
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1 / 25 / 1e4
# Shares of the steps after which the rate falls to a tenth (BiT-HyperRule, Kolesnikov et al. 2020).
MILESTONES = (0.3, 0.6, 0.9)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _one_cycle(progress: float) -> float:
    """One-cycle policy (Smith & Topin 2018) as in ``torch.optim.lr_scheduler.OneCycleLR``, with constant momentum."""
    if progress < ONE_CYCLE_RISE:
        return _cosine(ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_RISE)
    return _cosine(1.0, ONE_CYCLE_END, (progress - ONE_CYCLE_RISE) / (1.0 - ONE_CYCLE_RISE))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: _cosine(1.0, 0.0, progress),
    "one_cycle": _one_cycle,
    "step": lambda progress: 0.1 ** sum(progress >= milestone for milestone in MILESTONES),
}
# Fused, one kernel per step, where torch has it: on small heads, kernel launches cost more than the arithmetic.
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrialConfig], optim.Optimizer]] = {
    "sgd": lambda groups, config: optim.SGD(
        groups, momentum=config.momentum, nesterov=config.nesterov and config.momentum > 0, fused=True
    ),
    "adam": lambda groups, config: optim.Adam(groups, fused=True),
    "adamw": lambda groups, config: optim.AdamW(groups, fused=True),
    "rmsprop": lambda groups, config: optim.RMSprop(groups, momentum=config.momentum),
}


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies to a parameter: not to vectors (biases, norms) and embeddings.

    >>> import torch
    >>> from frostline.objectives.training import decays
    >>> layer = torch.nn.Linear(4, 2)
    >>> decays("weight", layer.weight), decays("bias", layer.bias)
    (True, False)
    """
    return parameter.ndim > 1 and not any(part in name for part in _NO_DECAY_NAMES)


def parameter_groups(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups by part and rate, each with and without weight decay; every trainable parameter is in exactly
    one. What the backbone itself exempts gets no weight decay either.

    Each group has a name (``head``, ``backbone`` where all units share a rate, or ``unit 07``), its ``peak`` rate and
    the ``share`` of it that the unit trains at.
    """
    phase = network.phase
    layerwise = phase.relative_rates or len({rate for rate in phase.unit_learning_rates if rate > 0}) > 1
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.trainable():
        part, rate = "head", phase.head_learning_rate
        if not name.startswith("head."):
            unit, rate = network.unit_rate(name)
            part = f"unit {unit:02d}" if layerwise else "backbone"
        exempt = network.model_name(name) in network.undecayed
        decay = decays(name, parameter) and not exempt and (part == "head" or phase.decays_backbone)
        groups.setdefault((part, rate, decay), []).append(parameter)
    return [
        {
            **{"name": part, "params": parameters, "lr": rate, "peak": rate, "share": 1.0},
            "weight_decay": weight_decay if decay else 0.0,
        }
        for (part, rate, decay), parameters in groups.items()
    ]


def create_optimizer(config: TrialConfig, network: Network) -> optim.Optimizer:
    """A new optimizer of the parameters that a phase trains; it takes over no state of an earlier phase."""
    return OPTIMIZERS[config.optimizer](parameter_groups(network, config.weight_decay), config)


class Optimization:
    """An optimizer with its schedule (linear warm-up from near 0, then the configured shape), clipping and averaging.

    Args:
        config: Configuration of the trial.
        network: Network of the first phase that it trains.
        steps: Number of steps of all phases that it trains.
    """

    def __init__(self, config: TrialConfig, network: Network, steps: int) -> None:
        self._config = config
        self._steps = steps
        self._done = 0
        self.optimizer = create_optimizer(config, network)
        self._average = WeightAverage(network, config.ema_decay) if config.ema_decay else None
        self._set_rates()

    def extend(self, network: Network) -> None:
        """Add the further parameters of the next phase; the state of the others stays."""
        known = {id(parameter) for parameter in self.parameters()}
        for group in parameter_groups(network, self._config.weight_decay):
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
            if group["params"]:
                self.optimizer.add_param_group(group)
        if self._average is not None:
            self._average.extend(network)
        self._set_rates()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Take one step at the present rates, then set the next rates."""
        if self._config.gradient_clip:
            nn.utils.clip_grad_norm_(self.parameters(), self._config.gradient_clip)
        self.optimizer.step()
        if self._average is not None:
            self._average.update()
        self._done += 1
        self._set_rates()

    def parameters(self) -> list[nn.Parameter]:
        """All parameters that the optimizer changes."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def units(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by part, without the head."""
        parts: dict[str, list[nn.Parameter]] = {}
        for group in self.optimizer.param_groups:
            if group["name"] != "head":
                parts.setdefault(group["name"], []).extend(group["params"])
        return parts

    def scale(self, shares: Mapping[str, float]) -> None:
        """Train each named part at a share of its rate from now on."""
        for group in self.optimizer.param_groups:
            group["share"] = shares.get(group["name"], group["share"])
        self._set_rates()

    def averaged(self) -> AbstractContextManager[None]:
        """Context in which the network has the weights to validate and to keep: their average, if one is configured."""
        return nullcontext() if self._average is None else self._average.applied()

    def state(self) -> dict[str, Tensor]:
        """Tensors to resume from: number of steps, the optimizer's state of each parameter, and the average."""
        held = {
            f"{place}/{name}": value
            for place, parameter in enumerate(self.parameters())
            for name, value in self.optimizer.state.get(parameter, {}).items()
        }
        average = {} if self._average is None else self._average.state()
        return {"done": torch.tensor(self._done), **held, **{f"average/{name}": average[name] for name in average}}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what :meth:`state` returned, after the same phases were added."""
        self._done = int(state["done"])
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            part, _, own = name.rpartition("/")
            parts.setdefault(part, {})[own] = value
        if self._average is not None:
            self._average.load_state(parts["average"])
        held = {
            place: {name: _laid_out(value, parameter) for name, value in parts[str(place)].items()}
            for place, parameter in enumerate(self.parameters())
            if str(place) in parts
        }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": held})
        self._set_rates()

    def learning_rates(self) -> dict[str, float]:
        """Present learning rate of each part."""
        return {group["name"]: float(group["lr"]) for group in self.optimizer.param_groups}

    def _set_rates(self) -> None:
        factor = rate_factor(self._config, self._done, self._steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor * group["share"]


def rate_factor(config: TrialConfig, done: int, steps: int) -> float:
    """Learning rate as a share of its peak: the warm-up, then the schedule.

    Args:
        config: Configuration of the trial.
        done: Number of steps done.
        steps: Number of all steps.

    Example:
        >>> from frostline.objectives.config import TrialConfig
        >>> from frostline.objectives.training import rate_factor
        >>> config = TrialConfig(strategy="full", schedule="linear", warmup=0.2)
        >>> [round(rate_factor(config, done, steps=10), 3) for done in range(0, 11, 2)]
        [0.333, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    warmup = 0 if config.schedule == "one_cycle" else round(config.warmup * steps)
    if done < warmup:
        return (done + 1) / (warmup + 1)
    return SCHEDULES[config.schedule](min(1.0, (done - warmup) / max(1, steps - warmup)))


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A copy of an optimizer's state in the parameter's memory format: fused kernels need both in the same layout."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value.clone()
