"""The forecast of a search: what each strategy's trials take, and how many of them its limits leave."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ...objectives.config import TrialConfig, create_config
from ...objectives.errors import InvalidInputError
from ...objectives.speed import SpeedProbe
from ...objectives.strategies import STRATEGIES, PlannedTrial, plan_trial
from ..analysis import MeasuredTrial, SecondsModel
from ..durations import write_duration
from ..formats import duration, plural
from ..records import FINISHED, STRATEGY, TrialRecord, finished
from ..sampling import BudgetAllocation
from .facts import StudyFacts
from .finalists import restore_config
from .results import StudyResults
from .settings import StudySettings

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# Configurations drawn from the space of a strategy, whose mean is what its later trials take.
_DRAWS = 16
# Trials beyond these are counted by their mean seconds alone.
_MOST = 300


@dataclass(frozen=True)
class StrategyForecast:
    """What is foreseen of a strategy.

    Attributes:
        strategy: Name of the strategy.
        first: Seconds of its first trial, of the default configuration.
        later: Mean seconds of later trials.
        trials: Number of its trials until the search ends.
    """

    strategy: str
    first: float
    later: float
    trials: int


@dataclass(frozen=True)
class Forecast:
    """What is foreseen of a search.

    Attributes:
        strategies: By strategy, in the order of the settings.
        seconds: Device seconds of all trials, at most the budget.
        by_budget: Whether the budget ends the search, not the number of trials.
    """

    strategies: tuple[StrategyForecast, ...]
    seconds: float
    by_budget: bool

    @property
    def sentence(self) -> str:
        """Say how long the search trains, and what ends it."""
        said = f"about {plural(self.trials, 'trial')} in {duration(self.seconds)} of training, if all run to their end"
        if self.by_budget:
            return f"{said}: the budget ends the search, and what is pruned or stops early leaves time for more"
        return f"{said}: the number of trials ends the search"

    @property
    def trials(self) -> int:
        """Return the number of trials until the search ends."""
        return sum(each.trials for each in self.strategies)


def forecast_search(settings: StudySettings, units: int, model: SecondsModel) -> Forecast:
    """Return what is foreseen of a search without trials.

    Args:
        settings: Settings of the study.
        units: Units of the backbone.
        model: Predicts the seconds of trials.
    """
    defaults = {name: plan_trial(create_config(settings.space.default(name)), units) for name in settings.strategies}
    warm = model
    for planned in defaults.values():
        warm = warm.after(planned)
    later = {name: _mean_seconds(settings, name, units, warm) for name in settings.strategies}
    first: dict[str, float] = {}
    count: Counter[str] = Counter()
    seconds = 0.0
    for strategy in _order(settings, later):
        if settings.budget is not None and seconds >= settings.budget:
            break
        if strategy not in first:
            first[strategy] = model.seconds(defaults[strategy])
            model = model.after(defaults[strategy])
            seconds += first[strategy]
        else:
            seconds += later[strategy]
        count[strategy] += 1
    ended = sum(count.values())
    by_budget = settings.budget is not None and seconds >= settings.budget
    if settings.budget is not None and not by_budget and settings.trials is None:
        # More trials than were followed: the rest goes on as so far.
        scale = settings.budget / seconds
        count = Counter({name: round(number * scale) for name, number in count.items()})
        seconds, by_budget = settings.budget, True
    elif settings.trials is not None and ended < settings.trials and not by_budget:
        scale = settings.trials / ended
        count, seconds = Counter({name: round(number * scale) for name, number in count.items()}), seconds * scale
    foreseen = [
        StrategyForecast(name, first.get(name, model.seconds(defaults[name])), later[name], count[name])
        for name in settings.strategies
    ]
    return Forecast(tuple(foreseen), min(seconds, settings.budget or seconds), by_budget)


def require_budget(settings: StudySettings, units: int, model: SecondsModel) -> None:
    """Check that a budget has room for a trial of each strategy, as far as can be foreseen.

    Raises:
        InvalidInputError: It does not; names the strategies that could not be judged, and what would be needed.
    """
    if settings.budget is None:
        return
    spent, left_out = 0.0, []
    for strategy in _one_each(settings):
        planned = plan_trial(create_config(settings.space.default(strategy)), units)
        spent += model.seconds(planned)
        model = model.after(planned)
        if spent > settings.budget:
            left_out.append(strategy)
    if left_out:
        raise InvalidInputError(
            f"--budget {write_duration(settings.budget)} is too small for one trial of each strategy: "
            f"{', '.join(left_out)} could not be judged. One of each takes up to about {write_duration(spent)} on this "
            f"device. Give --budget {write_duration(_rounded_up(spent))} or more, or select fewer with --strategy."
        )


def trials_left(results: StudyResults) -> int | None:
    """Return about how many more trials fit into a study's budget, by what its trials took; None if that is unknown.

    It is unknown without a budget, of studies that began without one, and where the strategies' plugins are missing.
    """
    settings, facts, probe = results.settings, results.facts, results.speed
    if results.ending is not None:
        return 0
    if settings.budget is None or probe is None or not STRATEGIES.keys() >= set(settings.strategies):
        return None
    units, model = len(facts.units), fitted_model(facts, probe, results.trials)
    means = [_mean_seconds(settings, name, units, model) for name in settings.strategies]
    left = math.ceil(max(0.0, settings.budget - results.used_seconds) / fmean(means))
    return left if settings.trials is None else min(left, settings.trials - finished(results.trials))


def fitted_model(facts: StudyFacts, probe: SpeedProbe, trials: Sequence[TrialRecord]) -> SecondsModel:
    """Return the model of a study's trials, corrected by those that ended.

    Args:
        facts: Facts of the study.
        probe: Speed probe of the study.
        trials: Trials of the study.
    """
    model = SecondsModel(probe, facts.counts["train"], facts.counts["val"], len(facts.folds) or 1)
    return model.fit(list(measured_trials(trials, len(facts.units), model.folds)))


def measured_trials(trials: Sequence[TrialRecord], units: int, folds: int = 1) -> Iterator[MeasuredTrial]:
    """Yield the trials that ended with epochs and seconds, in the order in which they ended.

    Args:
        trials: Trials of the study.
        units: Units of the backbone.
        folds: Number of trainings of a trial.
    """
    ended = [each for each in trials if each.state in FINISHED and each.finished and each.config and each.curve]
    for trial in sorted(ended, key=lambda each: (each.finished, each.number)):
        try:
            planned = plan_trial(restore_config(trial.config), units)
        except InvalidInputError:
            # A parameter that its strategy only reports, such as the depth of `full`.
            continue
        yield MeasuredTrial(planned, trial.epochs_trained / folds, trial.seconds or 0.0)


def _rounded_up(seconds: float) -> float:
    """Return some more seconds, in steps that people choose: predictions are no finer."""
    step = 10 if seconds < 120 else 60
    return (seconds * 1.1 // step + 1) * step


def _mean_seconds(settings: StudySettings, strategy: str, units: int, model: SecondsModel) -> float:
    drawn = list(_draws(settings, strategy, units))
    return sum(map(model.seconds, drawn)) / len(drawn)


def _draws(settings: StudySettings, strategy: str, units: int) -> Iterator[PlannedTrial]:
    """Yield configurations from the space of a strategy, the same each time; of those that can be trained."""
    # Optuna loads slowly, and most readers of a study need no forecast.
    import optuna

    from ..optuna_logging import quiet_optuna

    sampler = optuna.samplers.RandomSampler(seed=settings.seed)
    with quiet_optuna():
        study = optuna.create_study(sampler=sampler)
    yield plan_trial(create_config(settings.space.default(strategy)), units)
    for _ in range(_DRAWS):
        try:
            config: TrialConfig = settings.space.suggest(study.ask(), strategy)
            yield plan_trial(config, units)
        except InvalidInputError:
            continue


def _order(settings: StudySettings, costs: dict[str, float]) -> Iterator[str]:
    """Yield the strategies in the order in which one worker runs their trials; where TPE chooses, they take turns."""
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import TrialState, create_trial

    from ..sampling import Tally

    names = list(settings.strategies)
    allocation = BudgetAllocation(
        settings.planned_trials, costs, _controls(settings), one_each=settings.budget is not None
    )
    choices = CategoricalDistribution(names)
    begun: list[FrozenTrial] = []
    tally = Tally()
    for number in range(min(_MOST, settings.trials or _MOST)):
        tally.update(tuple(begun))
        due = allocation.next_strategy(tally, number, names)
        strategy = due or min(names, key=tally.count(number).__getitem__)
        trial = create_trial(
            state=TrialState.COMPLETE, value=0.0, params={STRATEGY: strategy}, distributions={STRATEGY: choices}
        )
        trial.number = number
        begun.append(trial)
        yield strategy


def _controls(settings: StudySettings) -> list[str]:
    return [name for name in settings.strategies if name in STRATEGIES and not STRATEGIES[name].pretrained]


def _one_each(settings: StudySettings) -> list[str]:
    controls = _controls(settings)
    return [*(name for name in settings.strategies if name not in controls), *controls]
