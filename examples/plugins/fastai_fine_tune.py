"""A strategy of one's own: the phases and rates of fastai's ``Learner.fine_tune`` (Howard & Gugger 2020).

As in fastai 2.8, ``fine_tune(epochs - 1)``: for one epoch the head trains, and with it the norms of the body at a tenth
of its rate, which fastai's ``freeze()`` leaves trainable. Then everything trains at half the rate, in three groups: the
first half of the units at a hundredth of the head's rate, the second half at a tenth.

What differs:

- fastai cuts the body at a layer that it names for each architecture (ResNet-18 after ``layer2``, which is its half); a
  plan knows the number of units alone.
- One cycle peaks at 30 % of each phase here. There, the first phase rises to its end, the second starts at a fifth of
  the peak, and Adam's momentum moves against the rate.
- The head is Frostline's, and optimizer and weight decay are searched as for every strategy.

A network without norms has nothing to train in its frozen body: the strategy refuses it; take ``lp_ft``.

    $ frostline search photos --plugin fastai_fine_tune
"""

from __future__ import annotations

from frostline.objectives.config import TrialConfig
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.phases import Phase, norms_and_biases
from frostline.objectives.strategies import Strategy, register_strategy


def norms(module: object, name: str) -> bool:
    """Select scale and offset of a norm, but no bias of another layer."""
    return norms_and_biases(module, "weight")


def plan(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    """Two phases on a backbone of so many units; `frostline backbones NAME` lists them."""
    frozen_epochs = config.probe_epochs or 1
    if frozen_epochs >= config.epochs:
        raise InvalidInputError(f"fastai_fine_tune: probe_epochs must be below epochs ({config.epochs})")
    rate, later = config.learning_rate, config.learning_rate / 2
    first = -(-units // 2)
    rates = (later / 100,) * first + (later / 10,) * (units - first)
    return (
        Phase("frozen", 0, frozen_epochs, rate, (rate / 10,) * units, selects=norms, trains_only="norm"),
        Phase("unfrozen", 0, config.epochs - frozen_epochs, later, rates),
    )


register_strategy(
    Strategy(
        name="fastai_fine_tune",
        summary="the head and the norms for an epoch, then everything in three groups of rising rates",
        plan=plan,
        takes=frozenset({"probe_epochs"}),
        domains={
            "learning_rate": {"low": 5e-4, "high": 2e-2, "log": True, "default": 2e-3},
            "probe_epochs": {"choices": [1, 2, 3], "default": 1},
            "schedule": "one_cycle",
            "augmentation": {"choices": ["none", "flip_crop", "resized_crop"], "default": "flip_crop"},
        },
    )
)
