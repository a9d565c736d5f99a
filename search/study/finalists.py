"""Finalists: the configuration of each strategy that the verdict is about, and how it is chosen.

The best score of a search was partly luck. So several configurations of a strategy are candidates: its best trials, and
its default, which no score was needed to find. Each is trained once more with a fresh seed; the candidate with the
highest mean validation score of both trainings is the finalist, which the further seeds go to. Test scores choose
nothing. A configuration that fails when it is trained again is a candidate no more, and the next best takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...objectives.config import TrialConfig, create_config
from ...objectives.strategies import get_strategy, takes_parameter
from ..records import STRATEGY, FinalScores, TrialRecord, best_trials, finalist_name
from .settings import StudySettings

# Finals use other seeds than the search: the best score of the search was selected for being high.
SEED_OFFSET = 1000


@dataclass(frozen=True)
class Finalist:
    """A candidate of a strategy, to be retrained with one seed.

    Attributes:
        trial: Record of the trial.
        seed: Seed of the final training.
        place: Number of the seed among those of the finals, from 0.
    """

    trial: TrialRecord
    seed: int
    place: int

    @property
    def strategy(self) -> str:
        """Return the name of the strategy."""
        return str(self.trial.strategy)

    @property
    def identity(self) -> str:
        """Return strategy and trial number, which identify the finalist in the database."""
        return finalist_name(self.strategy, self.trial.number)

    @property
    def subject(self) -> str:
        """Return the subject of the final's ticket."""
        return f"{self.identity} {self.seed}"

    @property
    def config(self) -> TrialConfig:
        """Return the configuration of the trial."""
        return restore_config(self.trial.config)


def restore_config(parameters: dict[str, object]) -> TrialConfig:
    """Return the configuration that has the active parameters of a trial."""
    strategy = get_strategy(str(parameters[STRATEGY]))
    return create_config({name: value for name, value in parameters.items() if takes_parameter(strategy, name)})


def list_candidates(settings: StudySettings, trials: Sequence[TrialRecord]) -> list[Finalist]:
    """Return the candidates of every strategy that completed a trial, with every seed that each may have.

    Args:
        settings: Settings of the study.
        trials: Trials of the study.
    """
    first, places = settings.seed + SEED_OFFSET, range(settings.finals_seeds)
    every = [trial for strategy in settings.strategies for trial in _candidates(settings, trials, strategy)]
    return [Finalist(trial, first + place, place) for trial in every for place in places]


def choose_finalists(
    settings: StudySettings, trials: Sequence[TrialRecord], finals: Iterable[FinalScores]
) -> dict[str, TrialRecord]:
    """Return the finalist of each strategy whose candidates were all trained with the first seed.

    Args:
        settings: Settings of the study.
        trials: Trials of the study.
        finals: Its finals, of former candidates too.
    """
    first = settings.seed + SEED_OFFSET
    fresh = {(final.strategy, final.trial_number): final.val_score for final in finals if final.seed == first}
    chosen: dict[str, TrialRecord] = {}
    for strategy in settings.strategies:
        candidates = _candidates(settings, trials, strategy)
        if len(candidates) == 1:
            chosen[strategy] = candidates[0]
        elif candidates and all((strategy, trial.number) in fresh for trial in candidates):
            # The first of equals: the best of the search.
            chosen[strategy] = max(candidates, key=lambda each: (each.score or 0.0) + fresh[strategy, each.number])
    return chosen


def is_finalist(final: FinalScores, chosen: Mapping[str, TrialRecord]) -> bool:
    """Return whether a final is one of the chosen finalists'."""
    trial = chosen.get(final.strategy)
    return trial is not None and trial.number == final.trial_number


def _candidates(settings: StudySettings, trials: Sequence[TrialRecord], strategy: str) -> list[TrialRecord]:
    """Return a strategy's candidates: its best trials, and its default configuration as the last, if it is complete."""
    ranked = best_trials([each for each in trials if each.strategy == strategy and each.final_failed is None])
    default = find_default(settings, ranked, strategy)
    if settings.candidates == 1 or default is None:
        return ranked[: settings.candidates]
    best = ranked[: settings.candidates - 1]
    return best if default in best else [*best, default]


def find_default(settings: StudySettings, trials: Iterable[TrialRecord], strategy: str) -> TrialRecord | None:
    """Return the first of the trials that has a strategy's default configuration; None without one."""
    default = settings.space.default(strategy)
    # A trial has further parameters: those that the space leaves at their constant values.
    return next((trial for trial in trials if default.items() <= trial.config.items()), None)
