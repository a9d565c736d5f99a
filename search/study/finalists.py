"""Finalists: the best trial of each strategy, with the seeds that its finals are trained with."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.config import TrialConfig, create_config
from ...objectives.strategies.catalog import get_strategy, takes_parameter
from ..records import STRATEGY, TrialRecord, summarise
from .settings import StudySettings

# Final seeds keep clear of the search's own, whose best score was picked for being high.
SEED_OFFSET = 1000


@dataclass(frozen=True)
class Finalist:
    """The best trial of a strategy.

    Attributes:
        trial: The trial.
        seed: Of one of its trainings.
    """

    trial: TrialRecord
    seed: int

    @property
    def strategy(self) -> str:
        return str(self.trial.strategy)

    @property
    def identity(self) -> str:
        return finalist_name(self.strategy, self.trial.number)

    @property
    def subject(self) -> str:
        """What its ticket is about."""
        return f"{self.identity} {self.seed}"

    @property
    def config(self) -> TrialConfig:
        return restore_config(self.trial.config)


def finalist_name(strategy: str, trial_number: int) -> str:
    """Name of a finalist, the same for all of its seeds.

    >>> finalist_name("lp_ft", 7)
    'lp_ft-7'
    """
    return f"{strategy}-{trial_number}"


def read_finalist(name: str) -> tuple[str, int]:
    """Strategy and trial number of a finalist, from its name.

    >>> read_finalist("lp_ft-7")
    ('lp_ft', 7)
    """
    strategy, _, number = name.rpartition("-")
    return strategy, int(number)


def restore_config(parameters: dict[str, object]) -> TrialConfig:
    """A configuration from the active parameters of a trial."""
    strategy = get_strategy(str(parameters[STRATEGY]))
    return create_config({name: value for name, value in parameters.items() if takes_parameter(strategy, name)})


def finalists(settings: StudySettings, trials: list[TrialRecord]) -> list[Finalist]:
    """Every strategy that completed a trial, with every final seed."""
    best = [summary.best for summary in summarise(trials, settings.strategies)]
    seeds = [settings.seed + SEED_OFFSET + place for place in range(settings.finals_seeds)]
    return [Finalist(trial, seed) for trial in best if trial is not None for seed in seeds]
