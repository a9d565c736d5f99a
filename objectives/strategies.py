"""The strategies: which units train, in which phases, from which weights. ``strategies.md`` is the specification.

A strategy is data: a name, the parameters it takes beyond the shared ones, and a plan that turns a configuration
into phases. The training loop knows phases only, so a new strategy is one more entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .config import TrialConfig
from .errors import InvalidInputError, unknown_name


@dataclass(frozen=True)
class Phase:
    """One stretch of training with a fixed set of trainable units, a new optimizer and a new schedule.

    Attributes:
        name: For logs.
        freeze_depth: Units frozen, counted from the input; n leaves the head alone to train.
        epochs: Upper bound.
        head_learning_rate: Peak rate of the head.
        backbone_learning_rate: Peak rate of the trainable units; unused where there are none.
    """

    name: str
    freeze_depth: int
    epochs: int
    head_learning_rate: float
    backbone_learning_rate: float


Plan = Callable[[TrialConfig, int], tuple[Phase, ...]]


@dataclass(frozen=True)
class Strategy:
    """A way of using a pretrained network.

    Attributes:
        name: As users write it.
        summary: One line for tables and help.
        plan: From a configuration and the number of units to phases.
        takes: Parameters that this strategy needs or allows, beyond those that all share.
        pretrained: Whether it starts from the pretrained weights.
    """

    name: str
    summary: str
    plan: Plan
    takes: frozenset[str] = field(default_factory=frozenset)
    pretrained: bool = True


STRATEGIES: dict[str, Strategy] = {}
# Parameters that only some strategies take; all others are shared by every strategy.
OWN_PARAMETERS = frozenset({"freeze_depth", "backbone_lr_ratio", "batch_norm", "probe_epochs", "probe_learning_rate"})


def register_strategy(strategy: Strategy) -> None:
    STRATEGIES[strategy.name] = strategy


def get_strategy(name: str) -> Strategy:
    """Raises InvalidInputError for an unknown name."""
    if name not in STRATEGIES:
        raise InvalidInputError(unknown_name("strategy", name, STRATEGIES))
    return STRATEGIES[name]


def takes_parameter(strategy: Strategy, parameter: str) -> bool:
    return parameter not in OWN_PARAMETERS or parameter in strategy.takes


def plan_phases(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    """The phases of a configuration on a backbone with so many units.

    Raises:
        InvalidInputError: Parameters that the strategy does not take, or depths and epochs out of range.
    """
    strategy = get_strategy(config.strategy)
    foreign = sorted(name for name in config.model_fields_set if not takes_parameter(strategy, name))
    if foreign:
        raise InvalidInputError([f"{strategy.name} takes no {name}: leave it out" for name in foreign])
    return strategy.plan(config, units)


def _single(config: TrialConfig, name: str, depth: int) -> tuple[Phase, ...]:
    rate = config.learning_rate
    return (Phase(name, depth, config.epochs, rate, rate * config.backbone_lr_ratio),)


def _depth(config: TrialConfig, lowest: int, units: int) -> int:
    depth = config.freeze_depth if config.freeze_depth is not None else (0 if lowest == 0 else None)
    if depth is None or not lowest <= depth < units:
        raise InvalidInputError(
            f"{config.strategy}: freeze_depth must be between {lowest} and {units - 1} "
            f"(this backbone has {units} units), got {config.freeze_depth}"
        )
    return depth


def _feature_extraction(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    return _single(config, "head", units)


def _partial(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    return _single(config, "finetune", _depth(config, 1, units))


def _full(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    return _single(config, "finetune", 0)


def _lp_ft(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    depth = _depth(config, 0, units)
    probe_epochs = config.probe_epochs or max(1, config.epochs // 2)
    if probe_epochs >= config.epochs:
        raise InvalidInputError(
            f"lp_ft: probe_epochs must be below epochs, got probe_epochs={probe_epochs}, epochs={config.epochs}"
        )
    probe_rate = config.probe_learning_rate or config.learning_rate
    rate = config.learning_rate
    return (
        Phase("probe", units, probe_epochs, probe_rate, probe_rate),
        Phase("finetune", depth, config.epochs - probe_epochs, rate, rate * config.backbone_lr_ratio),
    )


def _scratch(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    rate = config.learning_rate
    return (Phase("scratch", 0, config.epochs, rate, rate),)


_FINETUNES = frozenset({"backbone_lr_ratio", "batch_norm"})

for _strategy in (
    Strategy(
        "feature_extraction", "the pretrained network is frozen; a head learns on its features", _feature_extraction
    ),
    Strategy(
        "partial", "the first units stay frozen; the rest and the head train", _partial, _FINETUNES | {"freeze_depth"}
    ),
    Strategy("full", "every weight trains, the pretrained ones at a lower rate", _full, _FINETUNES),
    Strategy(
        "lp_ft",
        "the head first, on frozen features; then everything (Kumar et al. 2022)",
        _lp_ft,
        _FINETUNES | {"freeze_depth", "probe_epochs", "probe_learning_rate"},
    ),
    Strategy("scratch", "the same architecture from random weights: the control", _scratch, pretrained=False),
):
    register_strategy(_strategy)
