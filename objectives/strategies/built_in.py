"""The thirteen built-in strategies: which units each one trains, in which phases, from which weights.

Plans import solvers, adapters and penalties when they are called: these need torch, which reading a study must not
load.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ..config import STEP_PARAMETERS, TrialConfig, own_parameters
from ..errors import InvalidInputError
from ..phases import Phase, norms_and_biases
from .registry import Plan, Strategy


def freeze_depth(config: TrialConfig, units: int, *, lowest: int) -> int:
    """The freeze depth of a configuration, checked against the backbone.

    Args:
        config: Configuration of the trial; without a depth of its own it gets ``lowest``, if that is 0.
        units: Units of the backbone after truncation.
        lowest: Smallest depth that the strategy allows.

    Raises:
        InvalidInputError: The depth is missing or out of range, or the backbone has too few units.
    """
    if units <= lowest:
        raise InvalidInputError(
            f"it needs a unit to freeze and another to train, but {_left(config, units)}: leave this strategy out"
        )
    depth = config.freeze_depth if config.freeze_depth is not None else (0 if lowest == 0 else None)
    if depth is None or not lowest <= depth < units:
        raise InvalidInputError(
            f"freeze_depth must be between {lowest} and {units - 1} ({_left(config, units)}), "
            f"got {config.freeze_depth}{_from_the_end(config, units)}"
        )
    return depth


def _from_the_end(config: TrialConfig, units: int) -> str:
    """Return how a depth that truncation made too large may have been written."""
    if config.freeze_depth is None or not units <= config.freeze_depth < units + config.truncate:
        return ""
    every = units + config.truncate
    return f" (or {config.freeze_depth - every}: a negative depth counts from all {every} units)"


def _left(config: TrialConfig, units: int) -> str:
    if config.truncate:
        return f"this backbone has {units + config.truncate} units and truncate drops {config.truncate}"
    return f"this backbone has {units} unit{'s' * (units != 1)}"


def head_phase(name: str, units: int, epochs: int, rate: float) -> Phase:
    """A phase that trains the head alone: all ``units`` are frozen."""
    return Phase(name, units, epochs, rate)


def finetuning_phase(config: TrialConfig, units: int, depth: int, epochs: int | None = None) -> Phase:
    """A phase that trains the head and all units after a depth.

    Args:
        config: Configuration of the trial; gives rates, decay per unit, epochs and the mode of batch norms.
        units: Units of the backbone.
        depth: Number of frozen units.
        epochs: Epochs of the phase; None for all of the configuration.

    Example:
        >>> from frostline.objectives.config import TrialConfig
        >>> from frostline.objectives.strategies import finetuning_phase
        >>> config = TrialConfig(strategy="full", learning_rate=0.5, backbone_lr_ratio=0.5, layer_decay=0.5)
        >>> finetuning_phase(config, units=3, depth=1).unit_learning_rates
        (0.0625, 0.125)
    """
    rate = config.learning_rate
    rates = (rate * config.backbone_lr_ratio * config.layer_decay ** (units - unit) for unit in range(depth, units))
    return Phase("finetune", depth, epochs or config.epochs, rate, tuple(rates), config.batch_norm)


def _feature_extraction(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    return (head_phase("head", units, config.epochs, config.learning_rate),)


def _partial(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    return (finetuning_phase(config, units, freeze_depth(config, units, lowest=1)),)


def _full(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    embedding = config.freeze_embedding and config.optimizer == "sgd" and units > 1
    return (finetuning_phase(config, units, 1 if embedding else 0),)


def _lp_ft(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    depth = freeze_depth(config, units, lowest=0)
    # A solved head needs no steps to converge.
    unless_given = 0 if config.head.init == "probe" else max(1, config.epochs // 2)
    probe_epochs = config.probe_epochs or unless_given
    if probe_epochs >= config.epochs:
        raise InvalidInputError(
            f"probe_epochs must be below epochs, got probe_epochs={probe_epochs}, epochs={config.epochs}"
        )
    rate = config.probe_learning_rate or config.learning_rate
    probe = (head_phase("probe", units, probe_epochs, rate),) if probe_epochs else ()
    return (*probe, finetuning_phase(config, units, depth, config.epochs - probe_epochs))


def _scratch(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    rate = config.learning_rate
    return (Phase("scratch", 0, config.epochs, rate, (rate,) * units),)


def _gradual_unfreezing(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    """One more unit from the end at a time, down to the freeze depth: every few epochs under one optimizer and
    schedule, or where early stopping ends a phase; each phase then is a training from the best weights before it.
    """
    lowest = freeze_depth(config, units, lowest=0)
    plateaus = config.unfreeze_every == 0
    # A phase ends by early stopping after an epoch that improves and `patience` others, at the soonest.
    every = config.patience + 1 if plateaus else config.unfreeze_every
    stages = min(-(-config.epochs // every), units - lowest + 1)
    lengths = [every] * (stages - 1) + [config.epochs - every * (stages - 1)]
    phases = []
    for stage, epochs in enumerate(lengths):
        phase = finetuning_phase(config, units, units - stage, epochs)
        continues = stage > 0 and not plateaus
        phases.append(replace(phase, name=f"top {stage}", continues=continues, until_plateau=plateaus))
    return tuple(phases)


def _surgical(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    first = freeze_depth(config, units, lowest=0)
    last = first + config.trained_units
    phase = finetuning_phase(config, units, first)
    rates = tuple(rate if first + place < last else 0.0 for place, rate in enumerate(phase.unit_learning_rates))
    return (replace(phase, unit_learning_rates=rates),)


def _auto_rgn(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    return (replace(finetuning_phase(config, units, 0), relative_rates=True),)


def _norm_bias(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    phase = finetuning_phase(config, units, 0)
    return (replace(phase, selects=norms_and_biases, trains_only="norm and no bias", batch_norm="eval"),)


def _lora(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    from ..networks import add_lora

    adapt = partial(add_lora, rank=config.lora_rank, alpha=config.lora_alpha)
    phase = finetuning_phase(config, units, 0)
    return (replace(phase, adapt=adapt, trains_only="linear layer and no 1x1 convolution", batch_norm="eval"),)


def _l2_sp(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    from ..training import l2_sp

    penalty = partial(l2_sp, alpha=config.l2_sp_alpha, beta=config.l2_sp_beta)
    phase = finetuning_phase(config, units, freeze_depth(config, units, lowest=0))
    return (replace(phase, penalty=penalty, decays_backbone=False),)


def _linear_probe_exact(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    from ..training import solve_logistic_regression

    return (replace(head_phase("solve", units, 1, 0.0), solve=solve_logistic_regression),)


def _strategy(name: str, summary: str, plan: Plan, **further: Any) -> Strategy:
    """A built-in strategy; it takes the parameters whose fields name it."""
    return Strategy(name, summary, plan, takes=own_parameters(name), **further)


BUILT_IN_STRATEGIES = (
    _strategy(
        "feature_extraction", "the pretrained network is frozen; a head learns on its features", _feature_extraction
    ),
    _strategy("partial", "the first units stay frozen; the rest and the head train", _partial),
    _strategy("full", "every weight trains, the pretrained ones at a lower rate", _full),
    _strategy("lp_ft", "the head first, on frozen features; then everything (Kumar et al. 2022)", _lp_ft),
    _strategy("scratch", "the same architecture from random weights: the control", _scratch, pretrained=False),
    _strategy(
        "gradual_unfreezing",
        "the head first, then one more unit from the end at a time (Howard & Ruder 2018)",
        _gradual_unfreezing,
    ),
    _strategy(
        "discriminative", "every weight trains, each unit at a lower rate than the next (Howard & Ruder 2018)", _full
    ),
    _strategy("surgical", "one contiguous range of units and the head train (Lee et al. 2023)", _surgical),
    _strategy(
        "auto_rgn",
        "every weight trains, each unit at a rate by its relative gradient norm (Lee et al. 2023)",
        _auto_rgn,
    ),
    _strategy("norm_bias", "norms, biases and the head train", _norm_bias),
    _strategy("lora", "low-rank updates of linear layers and 1x1 convolutions train (Hu et al. 2022)", _lora),
    _strategy("l2_sp", "a penalty pulls the weights toward the pretrained ones (Li et al. 2018)", _l2_sp),
    _strategy(
        "linear_probe_exact",
        "multinomial logistic regression on frozen features, solved instead of trained",
        _linear_probe_exact,
        refuses=STEP_PARAMETERS,
    ),
)
