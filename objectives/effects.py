"""Where each hyperparameter has an effect: metadata of the fields of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Effect:
    """Where a hyperparameter has an effect. A field without one affects each strategy that trains in steps.

    Attributes:
        when: Another parameter's dotted name, and its values for which this one has an effect; None for all values.
        strategies: Built-in strategies that take the parameter; plugins name it in ``Strategy.takes``. None: it is
            shared by all strategies.
        on_features: Whether it changes the pooled features of a frozen backbone. Only such parameters have an effect
            on a head that is solved on these features instead of trained.

    Example:
        >>> from frostline.objectives.config import TrialConfig
        >>> from frostline.objectives.effects import effects_of
        >>> effects_of(TrialConfig)["nesterov"]
        Effect(when=('optimizer', ('sgd',)), strategies=None, on_features=False)
    """

    when: tuple[str, tuple[Any, ...]] | None = None
    strategies: tuple[str, ...] | None = None
    on_features: bool = False


def effects_of(model: type[BaseModel]) -> dict[str, Effect]:
    """The effect of each field by dotted name, in the order of the fields."""
    effects: dict[str, Effect] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            effects |= {f"{name}.{key}": effect for key, effect in effects_of(field.annotation).items()}
        else:
            effects[name] = next((each for each in field.metadata if isinstance(each, Effect)), Effect())
    return effects
