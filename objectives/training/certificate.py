"""Certificates of phases: what was frozen, what trained and at which rate, with the proof of both (contract C1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import TrainingFailedError
from ..networks import Network
from ..precision import EXACT, Precision
from .optimizers import Optimization, parameter_groups


@dataclass(frozen=True)
class ParameterGroup:
    """One parameter group of the optimizer.

    Attributes:
        name: Part of the network.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay of the group.
        parameters: Names of the parameters, as in the model.
    """

    name: str
    learning_rate: float
    weight_decay: float
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Certificate:
    """Evidence of what a phase trained and that it left all else unchanged. Names are those of the model.

    Attributes:
        phase: Name of the phase.
        freeze_depth: Number of frozen units, counted from the input.
        before: Hash of all parameters and buffers that the phase freezes, before the phase.
        after: The same hash after the phase.
        frozen: Names of the frozen parameters.
        frozen_parameters: Number of frozen scalars.
        trainable: Names of the trained parameters.
        batch_norms: Mode of each batch norm of the backbone during training: ``train`` or ``eval``.
        frozen_in_train_mode: Names of modules of frozen units that were in training mode; must be empty.
        groups: Parameter groups of the optimizer; None where the head was solved.
        precision: Precision of the frozen and of the trained units.
        first_layer: What was done to the first layer for images of other than 3 channels; empty for color.
    """

    phase: str
    freeze_depth: int
    before: str
    after: str
    frozen: tuple[str, ...]
    frozen_parameters: int
    trainable: tuple[str, ...]
    batch_norms: dict[str, str]
    frozen_in_train_mode: tuple[str, ...]
    groups: tuple[ParameterGroup, ...] | None
    precision: Precision = EXACT
    first_layer: str = ""

    @property
    def faults(self) -> list[str]:
        """Violations that the certificate shows; empty if it passes."""
        faults = []
        if self.before != self.after:
            faults.append(f"frozen units changed during phase {self.phase!r} (depth {self.freeze_depth})")
        if self.frozen_in_train_mode:
            faults.append(f"frozen modules were in training mode: {', '.join(self.frozen_in_train_mode)}")
        return faults + ([] if self.groups is None else self._group_faults(self.groups))

    def _group_faults(self, groups: tuple[ParameterGroup, ...]) -> list[str]:
        held = [name for group in groups for name in group.parameters]
        wrong = {
            "train but are in no group": set(self.trainable) - set(held),
            "are in two groups": {name for name in held if held.count(name) > 1} if len(set(held)) < len(held) else (),
            "are frozen but in a group": set(held) - set(self.trainable),
        }
        return [f"parameters {fault}: {', '.join(sorted(names))}" for fault, names in wrong.items() if names]

    @property
    def passed(self) -> bool:
        """Whether the certificate shows no violation."""
        return not self.faults

    def require(self) -> None:
        """Check the certificate.

        Raises:
            TrainingFailedError: It shows a violation.
        """
        if self.faults:
            raise TrainingFailedError("; ".join(self.faults))

    def describe(self) -> dict[str, Any]:
        """The certificate as plain values, for a file."""
        return {**asdict(self), "passed": self.passed, "faults": self.faults}


def certify(network: Network, optimization: Optimization | None) -> Certificate:
    """Inspect a network after a phase.

    Args:
        network: Network as the phase trained it; left in evaluation mode.
        optimization: Optimizer that trained it; None where the head was solved.
    """
    network.train()
    names = {id(parameter): network.model_name(name) for name, parameter in network.named_parameters()}
    frozen = {name: parameter for name, parameter in network.named_parameters() if not parameter.requires_grad}
    before, after = network.frozen_hashes()
    certificate = Certificate(
        phase=network.phase.name,
        freeze_depth=network.phase.freeze_depth,
        before=before,
        after=after,
        frozen=tuple(network.model_name(name) for name in frozen),
        frozen_parameters=sum(parameter.numel() for parameter in frozen.values()),
        trainable=tuple(network.model_name(name) for name, _ in network.trainable()),
        batch_norms={
            name: _mode(module) for name, module in _backbone_modules(network) if isinstance(module, _BatchNorm)
        },
        frozen_in_train_mode=tuple(
            name for unit in network.frozen_units() for name, module in unit.named_modules() if module.training
        ),
        groups=None if optimization is None else _groups(optimization.optimizer.param_groups, names),
        precision=network.precision,
        first_layer=network.first_layer,
    )
    network.eval()
    return certificate


def certify_with_head(certified: Certificate, network: Network, weight_decay: float) -> Certificate:
    """The certificate of a network that shares everything but its head with a network certified after both had trained.

    Args:
        certified: Certificate of the other network.
        network: Network whose head alone trained.
        weight_decay: Weight decay of its optimizer.
    """
    names = {id(parameter): name for name, parameter in network.head.named_parameters(prefix="head")}
    groups = _groups(parameter_groups(network, weight_decay), names)
    return replace(certified, phase=network.phase.name, trainable=tuple(names.values()), groups=groups)


def _mode(module: nn.Module) -> str:
    return "train" if module.training else "eval"


def _backbone_modules(network: Network) -> list[tuple[str, nn.Module]]:
    named = ((network.model_name(name), module) for name, module in network.named_modules())
    return [(name, module) for name, module in named if not name.startswith("head.")]


def _groups(groups: list[dict[str, Any]], names: dict[int, str]) -> tuple[ParameterGroup, ...]:
    return tuple(
        ParameterGroup(
            group["name"],
            group["peak"],
            group["weight_decay"],
            tuple(names.get(id(parameter), "(not in the network)") for parameter in group["params"]),
        )
        for group in groups
    )
