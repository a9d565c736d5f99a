"""Finalists: the best trial of each strategy, with the seeds that its finals are trained with."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.config import TrialConfig, create_config
from ...objectives.strategies import get_strategy, takes_parameter
from ..records import STRATEGY, TrialRecord, summarize
from .settings import StudySettings

# Finals use other seeds than the search: the best score of the search was selected for being high.
SEED_OFFSET = 1000


@dataclass(frozen=True)
class Finalist:
    """The best trial of a strategy, to be retrained with one seed.

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


def finalist_name(strategy: str, trial_number: int) -> str:
    """Return the name of a finalist, which all its seeds share.

    >>> finalist_name("lp_ft", 7)
    'lp_ft-7'
    """
    return f"{strategy}-{trial_number}"


def read_finalist(name: str) -> tuple[str, int]:
    """Return strategy and trial number of a finalist, from its name.

    >>> read_finalist("lp_ft-7")
    ('lp_ft', 7)
    """
    strategy, _, number = name.rpartition("-")
    return strategy, int(number)


def restore_config(parameters: dict[str, object]) -> TrialConfig:
    """Return the configuration that has the active parameters of a trial."""
    strategy = get_strategy(str(parameters[STRATEGY]))
    return create_config({name: value for name, value in parameters.items() if takes_parameter(strategy, name)})


def select_finalists(settings: StudySettings, trials: list[TrialRecord]) -> list[Finalist]:
    """Return the finalists: the best trial of every strategy that completed a trial, with every seed it may have.

    Args:
        settings: Settings of the study.
        trials: Trials of the study."""
    best = [summary.best for summary in summarize(trials, settings.strategies)]
    first, places = settings.seed + SEED_OFFSET, range(settings.finals_seeds)
    return [Finalist(trial, first + place, place) for trial in best if trial is not None for place in places]
