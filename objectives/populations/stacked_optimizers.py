"""Optimizers of stacked heads: schedules, clipping and averaging, with each head's own rates and settings.

They do for M heads, in as many operations as for one, what :mod:`~frostline.objectives.training.optimizers` and
:mod:`~frostline.objectives.training.ema` do for one network; the formulas are those of ``torch.optim``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..config import TrialConfig
from ..training import decays, rate_factor
from .stacked_heads import HeadStack

# Defaults of torch.optim.
_BETA1, _BETA2, _EPSILON, _ALPHA = 0.9, 0.999, 1e-8, 0.99

Settings = Mapping[str, Tensor]
"""Settings (M, 1, ...) by name, which broadcast with a parameter (M, ...)."""
State = dict[str, Tensor]
"""State (M, ...) of an optimizer for one parameter, by name."""


def _sgd(value: Tensor, gradient: Tensor, state: State, own: Settings, step: int) -> None:
    gradient = gradient + own["decay"] * value
    momentum = _held(state, "momentum", value).mul_(own["momentum"]).add_(gradient)
    value -= own["rate"] * torch.where(own["nesterov"], gradient + own["momentum"] * momentum, momentum)


def _adam(value: Tensor, gradient: Tensor, state: State, own: Settings, step: int) -> None:
    _adam_step(value, gradient + own["decay"] * value, state, own, step)


def _adamw(value: Tensor, gradient: Tensor, state: State, own: Settings, step: int) -> None:
    value *= 1 - own["rate"] * own["decay"]
    _adam_step(value, gradient, state, own, step)


def _adam_step(value: Tensor, gradient: Tensor, state: State, own: Settings, step: int) -> None:
    mean, square = _held(state, "mean", value), _held(state, "square", value)
    mean.lerp_(gradient, 1 - _BETA1)
    square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
    spread = square.sqrt().div_((1 - _BETA2**step) ** 0.5).add_(_EPSILON)
    value -= own["rate"] / (1 - _BETA1**step) * (mean / spread)


def _rmsprop(value: Tensor, gradient: Tensor, state: State, own: Settings, step: int) -> None:
    gradient = gradient + own["decay"] * value
    square = _held(state, "square", value).mul_(_ALPHA).addcmul_(gradient, gradient, value=1 - _ALPHA)
    momentum = _held(state, "momentum", value).mul_(own["momentum"]).add_(gradient / square.sqrt().add_(_EPSILON))
    value -= own["rate"] * momentum


def _held(state: State, name: str, value: Tensor) -> Tensor:
    """The state of a parameter under a name, initially 0."""
    if name not in state:
        state[name] = torch.zeros_like(value)
    return state[name]


_STEPS: dict[str, Callable[[Tensor, Tensor, State, Settings, int], None]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
}


class StackedOptimization:
    """An optimizer of stacked heads, each with its own schedule.

    Args:
        configs: Configurations of the M heads; all name the same optimizer.
        peaks: Peak learning rate of each head.
        stack: Stacked heads.
        steps: Number of steps of each schedule.
    """

    def __init__(
        self, configs: Sequence[TrialConfig], peaks: Sequence[float], stack: HeadStack, steps: Sequence[int]
    ) -> None:
        self._stack = stack
        self._done = 0
        self._step = _STEPS[configs[0].optimizer]
        device = next(iter(stack.parameters.values())).device
        self._own = {name: torch.tensor(values, device=device) for name, values in _settings(configs).items()}
        # All rates at once: the device would wait for rates that the host computes at each step.
        rates = [
            [peak * rate_factor(config, done, own) for done in range(max(steps) + 1)]
            for config, peak, own in zip(configs, peaks, steps, strict=True)
        ]
        self._rates = torch.tensor(rates, device=device)
        self._clips = any(config.gradient_clip for config in configs)
        self._decays = {name: decays(name, nn.Parameter(value[0].detach())) for name, value in stack.parameters.items()}
        self._state: dict[str, State] = {name: {} for name in stack.parameters}
        averages = any(config.ema_decay for config in configs)
        self._average = [value.detach().clone() for value in stack.moving()] if averages else None

    @property
    def rates(self) -> list[float]:
        """Present learning rate of each head."""
        return self._rates[:, self._done].tolist()

    def zero_grad(self) -> None:
        for value in self._stack.parameters.values():
            value.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step of all heads at their present rates, then set the next rates."""
        if self._clips:
            self._clip()
        own = {**self._own, "rate": self._rates[:, self._done]}
        self._done += 1
        for name, value in self._stack.parameters.items():
            assert value.grad is not None
            settings = {key: _beside(setting, value) for key, setting in own.items()}
            if not self._decays[name]:
                settings["decay"] = torch.zeros_like(settings["decay"])
            self._step(value, value.grad, self._state[name], settings, self._done)
        if self._average is not None:
            self._update_average(self._average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Context in which the heads have the weights to validate and to keep: their average, where one is
        configured.
        """
        live = [value.detach() for value in self._stack.moving()]
        kept = [value.clone() for value in live] if self._average is not None else []
        for value, average in zip(live, self._average or [], strict=False):
            value.copy_(average)
        try:
            yield
        finally:
            for value, before in zip(live, kept, strict=False):
                value.copy_(before)

    def keep(self, members: Tensor) -> None:
        """Continue with these heads alone; call it after :meth:`HeadStack.keep`.

        Args:
            members: Indices of the heads, int64, on the device.
        """
        self._own = {name: value[members] for name, value in self._own.items()}
        self._rates = self._rates[members]
        self._state = {
            name: {key: value[members] for key, value in state.items()} for name, state in self._state.items()
        }
        self._average = None if self._average is None else [value[members] for value in self._average]

    def _clip(self) -> None:
        """Clip as ``torch.nn.utils.clip_grad_norm_`` does for each head alone; a limit of 0 disables clipping."""
        gradients = [value.grad for value in self._stack.parameters.values() if value.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        limits = self._own["clip"]
        shares = torch.where(limits > 0, (limits / (norms + 1e-6)).clamp(max=1.0), 1.0)
        for gradient in gradients:
            gradient *= _beside(shares, gradient)

    def _update_average(self, average: list[Tensor]) -> None:
        decay = self._own["ema"].clamp(max=(1 + self._done) / (10 + self._done))
        for kept, value in zip(average, self._stack.moving(), strict=True):
            kept.lerp_(value, _beside(1 - decay, value))


def _settings(configs: Sequence[TrialConfig]) -> dict[str, list[float] | list[bool]]:
    return {
        "decay": [config.weight_decay for config in configs],
        "momentum": [config.momentum for config in configs],
        "nesterov": [config.nesterov for config in configs],
        "clip": [config.gradient_clip for config in configs],
        "ema": [config.ema_decay for config in configs],
    }


def _beside(vector: Tensor, value: Tensor) -> Tensor:
    """Reshape (M,) to (M, 1, ...), so that it broadcasts with a tensor (M, ...)."""
    return vector.view(-1, *[1] * (value.ndim - 1))
