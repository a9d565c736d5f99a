"""Plans: from a configuration to the phases of its training; contradictions are refused before anything trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import FIXED_POOLINGS, HeadConfig, TrialConfig
from ..errors import InvalidInputError
from ..phases import Phase
from .built_in import head_phase
from .catalog import get_strategy
from .registry import Strategy, takes_parameter


@dataclass(frozen=True)
class PlannedTrial:
    """A configuration with the phases of its training on a backbone.

    Attributes:
        config: Configuration of the trial.
        phases: Its phases, in order.
    """

    config: TrialConfig
    phases: tuple[Phase, ...]

    @property
    def epochs(self) -> int:
        """Maximum number of epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)


def plan_trial(config: TrialConfig, units: int) -> PlannedTrial:
    """The plan of a configuration on a backbone; see :func:`plan_phases`.

    A head that may see more units than it can reach sees those that it can: in a space, the number of units and the
    depth of the cut are drawn each by itself.

    Example:
        >>> from frostline.objectives.config import create_config
        >>> from frostline.objectives.strategies import plan_trial
        >>> config = create_config({"strategy": "partial", "freeze_depth": 6, "head.depths": 8})
        >>> plan_trial(config, units=8).config.head.depths
        3
    """
    phases, left = _planned(config, units), units - config.truncate
    if (reach := head_reach(phases, left)) < config.head.depths:
        config = config.model_copy(update={"head": config.head.model_copy(update={"depths": reach})})
    return PlannedTrial(config, _with_head(config.head, phases, left))


def plan_phases(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    """The phases of a configuration on a backbone.

    Args:
        config: Configuration of the trial.
        units: Units of the backbone before truncation.

    Raises:
        InvalidInputError: The strategy does not take a parameter, a depth or number of epochs is out of range, or the
            strategy's plan does not fit the backbone.

    Example:
        >>> from frostline.objectives.config import TrialConfig
        >>> from frostline.objectives.strategies import plan_phases
        >>> config = TrialConfig(strategy="lp_ft", epochs=10, probe_epochs=4)
        >>> [(phase.name, phase.freeze_depth, phase.epochs) for phase in plan_phases(config, units=8)]
        [('probe', 8, 4), ('finetune', 0, 6)]
    """
    return _with_head(config.head, _planned(config, units), units - config.truncate)


def _planned(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    """The strategy's own phases."""
    strategy = get_strategy(config.strategy)
    if faults := _faults(strategy, config, units):
        raise InvalidInputError(faults)
    left = units - config.truncate
    phases = tuple(strategy.plan(config, left))
    if faults := _phase_faults(phases, left):
        raise InvalidInputError([f"{strategy.name}: its plan {fault}" for fault in faults])
    return phases


def _with_head(head: HeadConfig, phases: tuple[Phase, ...], left: int) -> tuple[Phase, ...]:
    """The phases of a head on so many units: a solution comes first if the head begins with one."""
    if faults := _head_faults(head, phases, left):
        raise InvalidInputError(faults)
    if head.init == "probe":
        # The solver needs torch, which reading a study must not load.
        from ..training import solve_logistic_regression

        return (replace(head_phase("probe solution", left, 1, 0.0), solve=solve_logistic_regression), *phases)
    return phases


def _faults(strategy: Strategy, config: TrialConfig, units: int) -> list[str]:
    """Parameters that do not suit the strategy or contradict each other, one message each."""
    given = config.model_fields_set | {f"head.{name}" for name in config.head.model_fields_set}
    faults = [
        f"{strategy.name} takes no {name}: leave it out"
        for name in sorted(given)
        if not takes_parameter(strategy, name)
    ]
    if config.truncate >= units:
        faults.append(f"truncate must be below {units}, since one unit must stay, got {config.truncate}")
    head = config.head
    if head.function is not None and (others := _beside_function(head)):
        faults.append(f"head.function makes the whole head: leave out {', '.join(others)}")
    if head.init == "probe" and not strategy.pretrained:
        faults.append(f"head.init = 'probe' needs pretrained features, and {strategy.name} has none: set another init")
    if head.init == "probe" and head.hidden_layers > 0:
        faults.append("head.init = 'probe' solves a linear head: set head.hidden_layers = 0 or another init")
    if head.init in ("probe", "zeros") and head.output == "cosine":
        faults.append(f"head.init = {head.init!r} needs head.output = 'linear': a cosine layer cannot start from it")
    if config.class_weights == config.sampling == "balanced":
        faults.append("class_weights and sampling are both 'balanced', which corrects twice: change one of them")
    return faults


def _beside_function(head: HeadConfig) -> list[str]:
    """Other parameters of the head that differ from their defaults."""
    default = HeadConfig(function=head.function)
    return [f"head.{name}" for name, value in head if value != getattr(default, name)]


def _head_faults(head: HeadConfig, phases: Sequence[Phase], units: int) -> list[str]:
    """Parts of a head that do not suit the phases or the number of units, one message each."""
    faults = []
    if head.pooling == "attention" and all(phase.solve for phase in phases):
        faults.append("head.pooling = 'attention' learns queries, which a solved head cannot: set another pooling")
    if head.function is not None and any(phase.solve for phase in phases):
        faults.append("head.function makes a head that trains in steps, and this one is solved: leave it out")
    if head.depths > units:
        faults.append(f"head.depths must be at most {units}, the number of units left, got {head.depths}")
    if head.depths > 1 and head.pooling not in FIXED_POOLINGS:
        fixed = ", ".join(map(repr, FIXED_POOLINGS))
        faults.append(f"head.depths above 1 needs a head.pooling of {fixed}: set one of them, or head.depths = 1")
    reach = head_reach(phases, units)
    if reach < head.depths <= units:
        faults.append(
            f"head.depths must be at most {reach} here, the trained units and the one before them, got {head.depths}"
        )
    return faults


def head_reach(phases: Sequence[Phase], units: int) -> int:
    """How many of the last units a head can see in every phase: those of the suffix, and the last frozen one.

    Where all units are frozen, these are all: of those before a cut, only the last one's output is kept.
    """
    cuts = [phase.freeze_depth for phase in phases if phase.freeze_depth < units]
    return min((units - cut + (cut > 0) for cut in cuts), default=units)


def _phase_faults(phases: Sequence[Phase], units: int) -> list[str]:
    """Errors of a plan whatever the configuration: mistakes of the strategy's author."""
    faults = [] if phases else ["has no phase"]
    if len({phase.name for phase in phases}) < len(phases):
        faults.append(f"names two phases alike: {', '.join(phase.name for phase in phases)}")
    for phase in phases:
        depth, rates = phase.freeze_depth, len(phase.unit_learning_rates)
        if not 0 <= depth <= units:
            faults.append(f"freezes {depth} units in phase {phase.name!r}, of {units}")
        elif rates != units - depth:
            faults.append(f"gives {rates} unit_learning_rates in phase {phase.name!r}, needs {units} - {depth}")
        if phase.until_plateau and phase.continues:
            faults.append(f"gives phase {phase.name!r} the schedule before it, whose length until_plateau leaves open")
        if phase.epochs < 1:
            faults.append(f"gives phase {phase.name!r} {phase.epochs} epochs")
    return faults
