"""The prior of a study: earlier studies, of the workspace or of a portfolio's file, from whose best it starts.

Of each strategy, the best configurations of the nearest studies come first (Feurer et al. 2015, "Initializing Bayesian
hyperparameter optimization via meta-learning", AAAI). Portfolios that are chosen greedily for the mean over all
datasets (Feurer et al. 2022, Auto-sklearn 2.0; Salinas and Erickson 2024, TabRepo) need every configuration on every
dataset, which studies of different datasets do not have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...objectives.config import create_config
from ...objectives.errors import InvalidInputError
from ...objectives.strategies import plan_trial
from ...storage.workspace import Workspace
from ..space import Domain, Space, is_integer
from .neighbors import portfolio_of
from .portfolio import Best, Description, PastStudy, Portfolio, describe, read_portfolio
from .settings import StudySettings
from .starts import LISTED, Start

# What --prior takes besides a file.
WORKSPACE, NONE = "workspace", "none"
# At most so many starts of a strategy: with the default, one fewer than the trials before the sampler models it.
MOST = 2


def located_prior(prior: str | None) -> str:
    """Return a prior as a study stores it: a file by its whole path, none as empty text.

    Examples:
        >>> from frostline.search.study.prior import located_prior
        >>> located_prior("workspace"), located_prior("none"), located_prior(None)
        ('workspace', '', '')
    """
    if prior is None or prior == NONE:
        return ""
    return prior if prior == WORKSPACE else os.path.realpath(os.path.expanduser(prior))


def check_prior(prior: str | None) -> None:
    """Check that a prior can be read.

    Raises:
        InvalidInputError: It cannot.
    """
    if prior is not None and (not prior.strip() or "\0" in prior):
        raise InvalidInputError(
            f"--prior {prior!r} is no file. Give {WORKSPACE}, {NONE} or a file of `frostline portfolio`."
        )
    if (located := located_prior(prior)) not in ("", WORKSPACE):
        read_portfolio(Path(located))


def with_starts(
    settings: StudySettings,
    workspace: Workspace,
    *,
    images: int,
    classes: int,
    units: int,
    fingerprint: str | None = None,
) -> tuple[StudySettings, list[str]]:
    """Choose what a new study takes over.

    Args:
        settings: Settings of the study, whose prior was checked.
        workspace: Workspace of the study.
        images: Number of training images.
        classes: Number of classes.
        units: Number of the backbone's units.
        fingerprint: Fingerprint of the images; None where they are not read.

    Returns:
        Settings with the starts, and what was left out with the reason, a sentence each.
    """
    if not settings.prior:
        return settings, []
    described = describe(settings, images=images, classes=classes, units=units, fingerprint=fingerprint)
    portfolio = portfolio_of(workspace) if settings.prior == WORKSPACE else read_portfolio(Path(settings.prior))
    starts, notes = choose_starts(portfolio, described, settings.space)
    if not starts:
        notes.append(f"prior: nothing to start from among {len(portfolio.studies)} finished studies")
    return settings.model_copy(update={"starts": starts}), notes


def choose_starts(portfolio: Portfolio, study: Description, space: Space) -> tuple[tuple[Start, ...], list[str]]:
    """Choose the starts of a study.

    A study of the same images gives none: its trials may have been scored on images that are tested on here. Freeze
    depths are carried over as shares of the units, and probe epochs as shares of the epochs. A parameter that the space
    leaves constant is the space's.

    Args:
        portfolio: Earlier studies.
        study: What describes the study.
        space: Its space, resolved.

    Returns:
        The starts, and what was left out with the reason, a sentence each.
    """
    fitting, notes = list[PastStudy](), list[str]()
    for each in portfolio.studies:
        if fault := _unlike(each.description, study):
            notes.append(f"prior: left out {each.name!r}: {fault}")
        else:
            fitting.append(each)
    fitting.sort(key=lambda each: each.description.distance(study))
    starts: list[Start] = []
    for strategy in space.strategies:
        own, faults = _of_strategy(strategy, fitting, study, space)
        starts += own
        notes += faults
    if (more := len(notes) - LISTED) > 1:
        notes[LISTED:] = [f"prior: left out {more} others likewise"]
    return tuple(starts), notes


def _unlike(past: Description, study: Description) -> str:
    """Return why nothing can be taken over from a study; empty if something can."""
    if past.metric != study.metric:
        return f"its metric is {past.metric}, here it is {study.metric}"
    if past.image_size != study.image_size:
        return f"its image size is {past.image_size}, here it is {study.image_size}"
    if not set(past.data).isdisjoint(study.data):
        return "its images are the same, and some that it validated on may be tested on here"
    return ""


def _of_strategy(
    strategy: str, nearest: Iterable[PastStudy], study: Description, space: Space
) -> tuple[list[Start], list[str]]:
    starts, faults = list[Start](), list[str]()
    # The default comes first anyway.
    taken = [space.searched(strategy, space.default(strategy))]
    for past in nearest:
        if len(starts) == MOST:
            break
        if (best := past.best.get(strategy)) is None:
            continue
        try:
            values = _carried_over(strategy, best, past.description.units, study.units, space)
        except InvalidInputError as error:
            faults.append(f"prior: left out {strategy} of {past.name!r}: {'; '.join(error.faults)}")
            continue
        if values not in taken:
            taken.append(values)
            starts.append(Start(strategy=strategy, study=past.name, score=best.score, values=values))
    return starts, faults


def _carried_over(strategy: str, best: Best, past_units: int, units: int, space: Space) -> dict[str, Any]:
    """Return the searched values of a configuration in another space.

    Raises:
        InvalidInputError: The space does not have them.
    """
    given: dict[str, Any] = dict(best.values)
    _rescale(given, "freeze_depth", past_units, units)
    _rescale(given, "probe_epochs", given.get("epochs"), space.default(strategy).get("epochs"))
    _as_many_as_asked(given, "head.depths", space.strategies[strategy])
    values = space.default_with(strategy, space.searched(strategy, given))
    searched = space.searched(strategy, values)
    if faults := [
        f"{name} {str(value)[:40]} is not in this study's space"
        for name, value in searched.items()
        if not _contains(space.strategies[strategy][name], name, value)
    ]:
        raise InvalidInputError(faults)
    plan_trial(create_config(values), units)
    return searched


def _contains(domain: Domain, name: str, value: Any) -> bool:
    """Return whether a domain has a value of an unknown type."""
    if domain.choices is None and (isinstance(value, bool) or (is_integer(name) and not isinstance(value, int))):
        return False
    return domain.contains(value)


def _as_many_as_asked(values: dict[str, Any], name: str, domains: Mapping[str, Domain]) -> None:
    """Replace a count that was limited to what there was by the choice above it."""
    choices, value = domains[name].choices if name in domains else None, values.get(name)
    if choices and isinstance(value, int):
        values[name] = min((each for each in choices if isinstance(each, int) and each >= value), default=value)


def _rescale(values: dict[str, Any], name: str, past: Any, present: Any) -> None:
    """Carry a count over as a share of another count."""
    counts = (values.get(name), past, present)
    if all(isinstance(each, int) and each >= 0 for each in counts) and past:
        values[name] = round(values[name] * present / past)
