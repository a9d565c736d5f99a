"""The user's metric, sampler and heads, tried on the study's own classes and space before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import optuna

from ...objectives.data import Listing, resolve_splits
from ...objectives.errors import InvalidInputError
from ...objectives.metrics import check_metric, weighted
from ...objectives.networks import BackbonePool, find_head, require_new_heads
from ...objectives.user_metrics import is_users
from ..analysis import draw_scores
from ..optuna_logging import quiet_optuna
from ..records import STRATEGY
from ..sampling import BudgetAllocation, StrategySampler, create_user_sampler
from ..space import Domain, Space
from .settings import StudySettings

# Enough for samplers that start to model after a trial.
_TRIALS = 4
_DRAWS = 20


def user_modules(settings: StudySettings) -> list[str]:
    """Return the names of the modules of a study's own metric, sampler and heads."""
    metric = settings.metric if is_users(settings.metric) else ""
    names = (metric, settings.sampler, *head_functions(settings.space))
    return list(dict.fromkeys(name.partition(":")[0] for name in names if name))


def head_functions(space: Space) -> list[str]:
    """Return the names of the user's heads in a space."""
    found = [domains["head.function"] for domains in space.strategies.values() if "head.function" in domains]
    return list(dict.fromkeys(str(name) for domain in found for name in domain.extremes))


def import_objects(metric: str | None, sampler: str, heads: Iterable[str] = ()) -> None:
    """Import the user's metric, sampler and heads.

    Args:
        metric: Name of the metric; None for the default.
        sampler: Name of the user's sampler; empty for the built-in one.
        heads: Names of the user's heads.

    Raises:
        InvalidInputError: One is unknown, or cannot be imported; the message names all faults.
    """
    faults: list[str] = []
    wanted: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [(find_head, (name,)) for name in heads]
    wanted += [(check_metric, (metric,))] if metric is not None else []
    wanted += [(create_user_sampler, (sampler, 0))] if sampler else []
    for find, given in wanted:
        try:
            find(*given)
        except InvalidInputError as error:
            faults += error.faults
    if faults:
        raise InvalidInputError(faults)


def try_metric(metric: str | None, listing: Listing, seed: int) -> None:
    """Compute the user's metric of made-up predictions, and resampled as the verdict will.

    Args:
        metric: Name of the metric, which can be imported.
        listing: Images of the study; of the test images, only the number of each class is used.
        seed: Seed of the splits.

    Raises:
        InvalidInputError: It raises, or its value is not one number in [0, 1].
    """
    if metric is None or not is_users(metric):
        return
    every, classes, rng = np.array(listing.labels), len(listing.classes), np.random.default_rng(seed)
    splits = resolve_splits(listing.splits, every, seed, listing.groups)
    for labels in (np.sort(every[splits[name]]) for name in ("val", "test")):
        for probabilities in (rng.dirichlet(np.ones(classes), len(labels)), np.eye(classes)[labels]):
            draw_scores([[weighted(metric, probabilities, labels)]], labels, seed=seed, draws=_DRAWS)


def try_sampler(settings: StudySettings) -> None:
    """Sample some trials of each strategy with the user's sampler.

    Raises:
        InvalidInputError: It raises.
    """
    if not settings.sampler:
        return
    for strategy in settings.strategies:
        sampler = StrategySampler(BudgetAllocation(_TRIALS), seed=settings.seed, name=settings.sampler)
        with quiet_optuna():
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for score in range(_TRIALS):
                trial = study.ask()
                trial.suggest_categorical(STRATEGY, [strategy])
                try:
                    settings.space.suggest(trial, strategy)
                # Its values contradict each other: such a trial fails alone.
                except InvalidInputError:
                    pass
                # The user's code.
                except Exception as error:
                    what = f"Sampler {settings.sampler!r} fails on the space of {strategy}"
                    raise InvalidInputError(f"{what}: {type(error).__name__}: {error}") from error
                study.tell(trial, score / _TRIALS)


def try_heads(settings: StudySettings, backbones: BackbonePool, classes: int) -> None:
    """Build the user's heads of each strategy, on the features of each truncation.

    Args:
        settings: Settings of the study.
        backbones: Pool of its backbone.
        classes: Number of classes.

    Raises:
        InvalidInputError: One cannot be built, or gives no logits; the message names all faults.
    """
    units, tried = backbones.pretrained.units, set[tuple[str, tuple[int, ...]]]()
    for domains in settings.space.strategies.values():
        if "head.function" in domains:
            cut = domains.get("truncate", Domain(choices=(0,)))
            shapes = [unit.output_shape for dropped, unit in enumerate(reversed(units)) if cut.contains(dropped)]
            tried |= set(product(map(str, domains["head.function"].extremes), shapes))
    faults: list[str] = []
    for name, shape in sorted(tried):
        try:
            require_new_heads(name, shape, classes)
        except InvalidInputError as error:
            faults += error.faults
    if faults:
        raise InvalidInputError(faults)
