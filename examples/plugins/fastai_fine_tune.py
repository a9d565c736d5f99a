"""A strategy of one's own: the schedule of fastai's ``Learner.fine_tune`` (Howard & Gugger 2020).

The head trains for an epoch on the frozen network. Then everything trains at half the rate, each unit slower than the
next: the first at a hundredth of the head's rate, those between at even ratios. (fastai's one-cycle schedule is not
part of it; the schedule is searched as for every strategy.)

    $ frostline search photos --plugin fastai_fine_tune
"""

from __future__ import annotations

from frostline.objectives.config import TrialConfig
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.phases import Phase
from frostline.objectives.strategies import Strategy, register_strategy


def plan(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    """Two phases on a backbone of so many units; `frostline backbones NAME` lists them."""
    frozen_epochs = config.probe_epochs or 1
    if frozen_epochs >= config.epochs:
        raise InvalidInputError(f"fastai_fine_tune: probe_epochs must be below epochs ({config.epochs})")
    rate = config.learning_rate / 2
    rates = tuple(rate * 100 ** (unit / units - 1) for unit in range(units))
    return (
        Phase("frozen", units, frozen_epochs, config.learning_rate),
        Phase("unfrozen", 0, config.epochs - frozen_epochs, rate, rates, config.batch_norm),
    )


register_strategy(
    Strategy(
        name="fastai_fine_tune",
        summary="the head for an epoch, then everything at rates that rise from the first unit to the head",
        plan=plan,
        takes=frozenset({"probe_epochs", "batch_norm"}),
        domains={
            "learning_rate": {"low": 5e-4, "high": 2e-2, "log": True, "default": 2e-3},
            "probe_epochs": {"choices": [1, 2, 3], "default": 1},
            "batch_norm": {"choices": ["train", "eval"], "default": "train"},
            "augmentation": {"choices": ["none", "flip_crop", "resized_crop"], "default": "flip_crop"},
        },
    )
)
