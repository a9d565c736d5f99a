"""The effect of each hyperparameter within its strategy: trials along its domain, in groups with medians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...search.analysis import explained_variance
from ...search.formats import NOTHING, percent, points, value
from ...search.records import TrialRecord, best_trial
from ...search.space import Domain, is_integer
from ...search.study import StudyResults
from ..charts import KEY_PARAMETERS, by_strategy, scored_trials
from ..tables import Column, TextTable

# Minimum number of complete trials: any pattern in fewer trials would be chance.
MIN_SHOWN = 8
# Maximum number of integers that are shown one by one.
_FEW = 5
_THIRDS = ["low", "middle", "high"]


@dataclass(frozen=True)
class Point:
    """A trial in a panel: its place in the domain (0 to 1), score in percent, whether it was pruned, and its number."""

    place: float
    score: float
    pruned: bool
    number: int


@dataclass(frozen=True)
class ScoreGroup:
    """A part of a domain with its complete trials and their median score in percent; None without trials."""

    label: str
    start: float
    end: float
    trials: int
    median: float | None


@dataclass(frozen=True)
class Effect:
    """The effect of one parameter of one strategy.

    Attributes:
        name: Dotted name of the parameter.
        points: Scored trials that have the parameter.
        groups: Values of the parameter if they are few, else thirds of its range.
        named: Whether the groups are values.
        ends: Lowest and highest value of a range; meaningless for choices.
        log: Whether the domain is logarithmic.
        explained: Share of the variance of scores, in [0, 1]; None if unknown.
        best: Value in the strategy's best trial.
    """

    name: str
    points: tuple[Point, ...]
    groups: tuple[ScoreGroup, ...]
    named: bool
    ends: tuple[str, str]
    log: bool
    explained: float | None
    best: str


@dataclass(frozen=True)
class StrategyEffects:
    """The effects of all searched parameters of a strategy, most important first.

    Attributes:
        strategy: Name of the strategy.
        complete: Number of complete trials.
        pruned: Number of pruned trials.
        effects: Effects, one for each parameter.
    """

    strategy: str
    complete: int
    pruned: int
    effects: tuple[Effect, ...]


def find_effects(results: StudyResults) -> list[StrategyEffects]:
    """Return the effects of every strategy with enough complete trials, in the study's order."""
    groups = by_strategy(results, scored_trials(results))
    return [_of_strategy(results, name, trials) for name, trials in groups if _complete(trials) >= MIN_SHOWN]


def _complete(trials: Sequence[TrialRecord]) -> int:
    return sum(trial.state == "complete" for trial in trials)


def _of_strategy(results: StudyResults, strategy: str, trials: Sequence[TrialRecord]) -> StrategyEffects:
    domains = {name: domain for name, domain in results.settings.space.strategies[strategy].items() if domain.varies}
    explained = explained_variance(trials, domains)
    effects = [_effect(name, domain, trials, explained.get(name)) for name, domain in domains.items()]
    shown = sorted((effect for effect in effects if effect.points), key=_interest)
    complete = _complete(trials)
    return StrategyEffects(strategy, complete, len(trials) - complete, tuple(shown))


def _interest(effect: Effect) -> tuple[float, int]:
    """Return a sort key: most explained variance first, then the order of :data:`KEY_PARAMETERS`."""
    places = {name: place for place, name in enumerate(KEY_PARAMETERS)}
    return -(effect.explained or 0.0), places.get(effect.name, len(places))


def _effect(name: str, domain: Domain, trials: Sequence[TrialRecord], explained: float | None) -> Effect:
    known = [trial for trial in trials if name in trial.config and domain.contains(trial.config[name])]
    values = _few_values(name, domain)
    points_ = tuple(
        Point(
            _place(domain, values, trial.config[name]),
            100 * (trial.score or 0.0),
            trial.state == "pruned",
            trial.number,
        )
        for trial in known
    )
    best = best_trial(known)
    return Effect(
        name=name,
        points=points_,
        groups=tuple(_group(points_, *part) for part in _parts(values)),
        named=bool(values),
        ends=(value(domain.low), value(domain.high)),
        log=domain.log,
        explained=explained,
        best=NOTHING if best is None else value(best.config[name]),
    )


def _few_values(name: str, domain: Domain) -> tuple[Any, ...]:
    """Return the choices of a domain, or its integers if they are few; else an empty tuple."""
    if domain.choices is not None:
        return domain.choices
    if not is_integer(name) or domain.low is None or domain.high is None or domain.high - domain.low >= _FEW:
        return ()
    return tuple(range(int(domain.low), int(domain.high) + 1))


def _place(domain: Domain, values: Sequence[Any], setting: Any) -> float:
    """Return the place of a setting from 0 to 1: the middle of a value's column, or the position in a range."""
    if values:
        return (values.index(setting) + 0.5) / len(values)
    low, high, at = (math.log(x) if domain.log else float(x) for x in (domain.low or 0, domain.high or 0, setting))
    return (at - low) / (high - low)


def _parts(values: Sequence[Any]) -> list[tuple[str, float, float]]:
    labels = [value(setting) for setting in values] or _THIRDS
    return [(label, place / len(labels), (place + 1) / len(labels)) for place, label in enumerate(labels)]


def _group(every: Sequence[Point], label: str, start: float, end: float) -> ScoreGroup:
    # The last part includes the end of the domain.
    inside = [
        point.score for point in every if not point.pruned and (start <= point.place < end or point.place == end == 1)
    ]
    return ScoreGroup(label, start, end, len(inside), float(np.median(inside)) if inside else None)


def effect_rows(own: StrategyEffects) -> TextTable:
    """Return the table of the numbers in a strategy's panels."""
    columns = (
        Column("parameter", numeric=False),
        Column("searched", numeric=False),
        Column("best trial"),
        Column("median validation % (complete trials)", numeric=False),
        Column("variance explained"),
    )
    return TextTable(
        columns,
        tuple((e.name, searched(e), e.best, medians(e), percent(e.explained)) for e in own.effects),
    )


def searched(effect: Effect) -> str:
    """Return the domain in words."""
    if effect.named:
        return ", ".join(group.label for group in effect.groups)
    return f"{effect.ends[0]} to {effect.ends[1]}{', logarithmic' if effect.log else ''}"


def medians(effect: Effect) -> str:
    """Return medians and numbers of trials, such as ``low 80.1 (3), middle 85.2 (9), high – (0)``."""
    return ", ".join(
        f"{group.label} {NOTHING if group.median is None else points(group.median / 100)} ({group.trials})"
        for group in effect.groups
    )
