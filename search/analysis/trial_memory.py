"""Estimated peak memory of a trial, from the sizes that the speed probe measured."""

from __future__ import annotations

from ...objectives.phases import Phase
from ...objectives.strategies import PlannedTrial
from .trial_seconds import SecondsModel

# Bytes of a weight or its gradient.
_FLOAT = 4
# Values that an optimizer keeps for each weight.
_STATES = {"sgd": 1, "adam": 2, "adamw": 2, "rmsprop": 2}
# Images that the frozen units, and on a CPU the validation, take at once.
_AT_ONCE = 32
_AT_ONCE_GPU = 128


def peak_memory(planned: PlannedTrial, model: SecondsModel, parameters: int, trained: int) -> int:
    """Return about how many bytes a trial takes at its peak: on a GPU of its memory, else of the whole process.

    Args:
        planned: Configuration and phases of the trial.
        model: Model with the probe and the numbers of images.
        parameters: Number of parameters of the network.
        trained: Number of those that train in the last phase.
    """
    config, probe = planned.config, model.probe
    # Weights as they are, of the start, and of the best epoch; gradients and what the optimizer keeps.
    copies = 2 + (config.ema_decay > 0) + _STATES[config.optimizer]
    weights = _FLOAT * (2 * parameters + copies * trained)
    return probe.base_bytes + weights + max(_phase_memory(planned, phase, model) for phase in planned.phases)


def _phase_memory(planned: PlannedTrial, phase: Phase, model: SecondsModel) -> int:
    config, probe, depth = planned.config, model.probe, phase.freeze_depth
    units = probe.units[: len(probe.units) - config.truncate]
    kept = sum(unit.saved_bytes for unit in units[depth:]) * config.batch_size
    widest = max((unit.output_bytes for unit in units), default=0) + probe.image_bytes
    at_once = _AT_ONCE if probe.device == "cpu" else _AT_ONCE_GPU
    views = 1 if config.augmentation == "none" else min(config.views, phase.epochs)
    features = model.kept_bytes(config, depth) * (model.train * views + model.val)
    return features + max(kept + config.batch_size * probe.image_bytes, 2 * at_once * widest)
