"""A network as a phase trains it: frozen prefix, trainable suffix, head."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones import Backbone
from ..devices import autocast
from ..errors import InvalidInputError
from ..phases import Phase
from ..precision import EXACT, FLOAT32, Precision
from .batchnorm_folding import fold_in_training
from .frozen_prefix import FrozenPrefix, in_float32, state_hash
from .heads import FixedPooling


class Network(nn.Module):
    """A backbone cut at a phase's depth, with a head.

    Where all units are frozen, the head's pooling joins the prefix, so that stored features are vectors.

    Args:
        backbone: Backbone, whose units are shared, not copied.
        phase: Phase that says what is frozen and what trains.
        head: Module from the backbone's last features to logits; it computes in float32.
        precision: Precision of the units.

    Attributes:
        suffix: Trainable segments, one per unit.
        seen: Number of the last outputs of the suffix that the head sees; the prefix's output counts as the first.
        undecayed: Names of the parameters that the backbone exempts from weight decay, as in the model.
        first_layer: What was done to the first layer for images of other than 3 channels; empty for color.

    Raises:
        InvalidInputError: The units have nothing of what the phase trains.
    """

    def __init__(self, backbone: Backbone, phase: Phase, head: nn.Sequential, precision: Precision = EXACT) -> None:
        super().__init__()
        depth = phase.freeze_depth
        pooling = FixedPooling.of(head) if depth == len(backbone.units) else FixedPooling()
        self.prefix = FrozenPrefix(backbone.prefix(depth), depth, pooling, precision.frozen)
        self.precision = precision
        self._pooled = pooling.layers
        self.suffix = nn.Sequential(*(backbone.segment(unit, unit + 1) for unit in range(depth, len(backbone.units))))
        self.head = head
        self.phase = phase
        self.undecayed = backbone.undecayed
        self.first_layer = backbone.first_layer
        # Where all units are frozen, the prefix has chosen them.
        self.seen = 1 if depth == len(backbone.units) else backbone.depths
        rates = phase.unit_learning_rates
        for unit, rate in zip(self.suffix, rates, strict=True):
            _select(unit, phase, trains=rate > 0)
        if any(rates) and not any(value.requires_grad for value in self.suffix.parameters()):
            raise InvalidInputError(f"nothing to train: these units have no {phase.trains_only}")
        # What computes the suffix; in a list, so that it is no submodule.
        self._units = [_computed(unit, rate, phase) for unit, rate in zip(self.suffix, rates, strict=True)]
        self._frozen_before = self._frozen_hash(self.prefix.fingerprint)

    def with_head(self, head: nn.Sequential, phase: Phase) -> Network:
        """A network with another head on the same frozen units, whose hash is not computed again.

        Args:
            head: The other head.
            phase: Phase of the other head.

        Raises:
            ValueError: Not all units are frozen.
        """
        if any(other.freeze_depth != self.prefix.depth or other.unit_learning_rates for other in (self.phase, phase)):
            raise ValueError("heads can share frozen units only where all units are frozen")
        pooling = FixedPooling.of(head)
        network = copy.copy(self)
        network._modules = {**self._modules, "prefix": self.prefix.pooled(pooling), "head": head}
        network._pooled, network.phase = pooling.layers, phase
        return network

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalized images (N, 3, S, S)."""
        return self.classify(self.prefix(images))

    def classify(self, features: Tensor) -> Tensor:
        """Logits, float32 (N, classes), of the prefix's features (N, ...): the part that trains."""
        precision = self.precision.trained
        with autocast(features.device, precision):
            features = features.float() if precision == FLOAT32 else features
            seen = last_outputs(self._units, features, self.seen)
        return self.pooled_head(in_float32(seen))

    def compute_in(self, precision: Precision) -> None:
        """Change the precision of the units; the weights stay as they are."""
        self.precision, self.prefix.precision = precision, precision.frozen

    @property
    def pooled_head(self) -> nn.Sequential:
        """The head without the pooling that joined the prefix."""
        return self.head[self._pooled :]

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        for unit, rate in zip(self.suffix, self.phase.unit_learning_rates, strict=True):
            if rate == 0:
                unit.eval()
            elif mode and self.phase.batch_norm == "eval":
                for module in unit.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Names and values of the trainable parameters."""
        return [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]

    def updated_tensors(self) -> list[Tensor]:
        """All tensors that training changes: trainable parameters, and statistics of batch norms in training mode."""
        self.train()
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm) and module.training]
        statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        return [*(parameter for _, parameter in self.trainable()), *statistics]

    def unit_rate(self, name: str) -> tuple[int, float]:
        """Index in the backbone and learning rate of the unit that a parameter of the suffix belongs to."""
        place = int(name.split(".")[1])
        return self.phase.freeze_depth + place, self.phase.unit_learning_rates[place]

    def trainable_state(self) -> dict[str, Tensor]:
        """A copy of the parameters and buffers of suffix and head."""
        state = self.suffix.state_dict(prefix="suffix.") | self.head.state_dict(prefix="head.")
        return {name: value.detach().clone() for name, value in state.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load a state of :meth:`trainable_state` or ``state_dict``."""
        own = self.state_dict()
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)

    def backbone_state(self) -> dict[str, Tensor]:
        """A copy of the parameters and buffers of the whole backbone, named as in the model."""
        state = dict(self.prefix.prefix.state_dict())
        for unit in self.suffix:
            state |= unit.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    @staticmethod
    def model_name(name: str) -> str:
        """The model's name of a tensor or module, from its name here; names of the head keep their ``head.``.

        >>> from frostline.objectives.networks import Network
        >>> Network.model_name("suffix.0.layer4.1.conv2.weight")
        'layer4.1.conv2.weight'
        """
        part, _, rest = name.partition(".")
        return rest.partition(".")[2] if part in ("prefix", "suffix") else name

    def frozen_units(self) -> list[nn.Module]:
        """The prefix, and the units of the suffix that the phase freezes."""
        rates = self.phase.unit_learning_rates
        return [self.prefix.prefix, *(unit for unit, rate in zip(self.suffix, rates, strict=True) if rate == 0)]

    def frozen_hashes(self) -> tuple[str, str]:
        """Hashes of everything that the phase freezes: at construction, and now."""
        return self._frozen_before, self._frozen_hash(state_hash(self.prefix.state_dict()))

    def _frozen_hash(self, prefix: str) -> str:
        """Hash of the prefix's hash and, in the suffix, of frozen units, unselected parameters and fixed statistics."""
        digest = hashlib.sha256(prefix.encode())
        for unit, rate in zip(self.suffix, self.phase.unit_learning_rates, strict=True):
            digest.update(state_hash(_frozen_state(unit, whole=rate == 0, phase=self.phase)).encode())
        return digest.hexdigest()


def last_outputs(units: Iterable[nn.Module], features: Tensor, count: int) -> Tensor | tuple[Tensor, ...]:
    """Run units one after another; return the last output, or the last ``count`` of the features and all outputs."""
    outputs = deque([features], maxlen=count)
    for unit in units:
        outputs.append(unit(outputs[-1]))
    return outputs[0] if count == 1 else tuple(outputs)


def _select(unit: nn.Module, phase: Phase, *, trains: bool) -> None:
    """Make exactly those parameters of a unit trainable that the phase selects."""
    for module in unit.modules():
        for name, parameter in module.named_parameters(recurse=False):
            parameter.requires_grad_(trains and phase.selects(module, name))
    if trains and phase.adapt is not None:
        unit.requires_grad_(False)
        phase.adapt(unit)


def _computed(unit: nn.Module, rate: float, phase: Phase) -> nn.Module:
    """The unit, or what computes the same faster where its batch norms keep their statistics."""
    return fold_in_training(unit) if rate == 0 or phase.batch_norm == "eval" else unit


def _frozen_state(unit: nn.Module, *, whole: bool, phase: Phase) -> dict[str, Tensor]:
    if whole:
        return unit.state_dict()
    frozen = {name: value for name, value in unit.named_parameters() if not value.requires_grad}
    statistics = dict(unit.named_buffers()) if phase.batch_norm == "eval" else {}
    return {**frozen, **statistics}
