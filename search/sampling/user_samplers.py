"""Samplers of the user's: ``module:object``, an Optuna sampler or what makes one: ``optuna.samplers:GPSampler``.

Several workers sample one study, and a later process resumes it. So each trial gets a sampler of its own, whose random
numbers depend on the study's seed and the trial's number, as those of the built-in sampler do.
"""

from __future__ import annotations

import copy
import inspect
import warnings
import zlib
from typing import Any

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState

from ...objectives.errors import InvalidInputError
from ...objectives.user_code import find_object


def create_user_sampler(name: str, seed: int) -> BaseSampler:
    """Return a new sampler.

    Args:
        name: ``module:object``. A class or function is called, with ``seed`` if it takes that; a sampler is copied, and
            its random numbers start anew, from its own seed and this one.
        seed: Seed of the trial.

    Raises:
        InvalidInputError: It cannot be imported, raises, or gives no ``optuna.samplers.BaseSampler``.
    """
    found = find_object("Sampler", name, "sampler")
    if isinstance(found, BaseSampler):
        sampler = copy.deepcopy(found)
        _start_anew(sampler, seed)
        return sampler
    if not callable(found):
        raise InvalidInputError(f"Sampler {name!r} is of type {type(found).__name__}. {_WANTED}")
    try:
        with warnings.catch_warnings():
            # Optuna would say it again for each trial.
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = found(**({"seed": seed} if _takes_seed(found) else {}))
    # The user's code.
    except Exception as error:
        raise InvalidInputError(f"Sampler {name!r} fails: {type(error).__name__}: {error}. {_WANTED}") from error
    if not isinstance(sampler, BaseSampler):
        raise InvalidInputError(f"Sampler {name!r} returns a {type(sampler).__name__}. {_WANTED}")
    return sampler


_WANTED = "Give an optuna.samplers.BaseSampler, or a class or function that makes one and needs at most a seed."


def _takes_seed(factory: Any) -> bool:
    try:
        return "seed" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


def _start_anew(sampler: BaseSampler, seed: int) -> None:
    """Give a sampler, and those in it, random numbers from its own seed and another one."""
    for each in vars(sampler).values():
        if isinstance(each, BaseSampler):
            _start_anew(each, seed)
        elif isinstance(each, LazyRandomState):
            each.rng.seed(zlib.crc32(f"{each.rng.randint(np.iinfo(np.int32).max)}/{seed}".encode()))
