"""Finalists: the configuration of each strategy that the verdict is about, and how it is chosen.

The best score of a search was partly luck. So several configurations of a strategy are candidates: its best trials, and
its default, which no score was needed to find. The best and the default are trained once more with a fresh seed, then
the others, one after another, while they may still come to lead; the candidate with the highest mean validation score
of all its trainings is the finalist, which the further seeds go to. What trailed in the search by more than chance is
not trained again. A configuration that fails when it is trained again is a candidate no more, and the next best takes
its place. Test scores choose nothing. `benchmarks/finalist_choice.py` compares this rule with others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...objectives.config import TrialConfig, create_config
from ...objectives.strategies import get_strategy, takes_parameter
from ..records import STRATEGY, FinalScores, TrialRecord, best_trials, finalist_name
from ..sampling import score_margin
from .settings import StudySettings

# Finals use other seeds than the search: the best score of the search was selected for being high.
SEED_OFFSET = 1000
# A fresh seed rarely (10 %) scores higher than the search did by more: recorded trainings vary by some 3 points.
_RARE_RISE = 0.04


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


def place_of_final(settings: StudySettings, seed: int) -> int:
    """Return the number of a seed among those of the finals, from 0."""
    return seed - settings.seed - SEED_OFFSET


def restore_config(parameters: dict[str, object]) -> TrialConfig:
    """Return the configuration that has the active parameters of a trial."""
    strategy = get_strategy(str(parameters[STRATEGY]))
    return create_config({name: value for name, value in parameters.items() if takes_parameter(strategy, name)})


def list_candidates(settings: StudySettings, trials: Sequence[TrialRecord], val_images: int | None) -> list[Finalist]:
    """Return the candidates of every strategy that completed a trial, with every seed that each may have.

    Args:
        settings: Settings of the study.
        trials: Trials of the study.
        val_images: Number of validation images, from which the chance in scores follows; None if no configuration
            counts as behind.
    """
    first, places = settings.seed + SEED_OFFSET, range(settings.finals_seeds)
    every = [trial for own in _candidates(settings, trials, val_images).values() for trial in own]
    return [Finalist(trial, first + place, place) for trial in every for place in places]


def choose_finalists(
    settings: StudySettings, trials: Sequence[TrialRecord], val_images: int | None, finals: Iterable[FinalScores]
) -> dict[str, TrialRecord]:
    """Return the finalist of each strategy of which no candidate is due.

    Args:
        settings: Settings of the study.
        trials: Trials of the study.
        val_images: See :func:`list_candidates`.
        finals: Finals of the study, of former candidates too.
    """
    fresh = _fresh_scores(settings, finals)
    chosen: dict[str, TrialRecord] = {}
    for strategy, candidates in _candidates(settings, trials, val_images).items():
        if not _due(settings, strategy, candidates, fresh):
            # The first of equals: the best of the search.
            known = [trial for trial in candidates if trial.number in fresh]
            chosen[strategy] = max(known, key=lambda each: _mean_of_all(each, fresh), default=candidates[0])
    return chosen


def due_candidates(
    settings: StudySettings, trials: Sequence[TrialRecord], val_images: int | None, finals: Iterable[FinalScores]
) -> set[int]:
    """Return the numbers of the trials to train with the first seed next; arguments as of :func:`choose_finalists`."""
    fresh = _fresh_scores(settings, finals)
    every = _candidates(settings, trials, val_images)
    return {trial.number for strategy, own in every.items() for trial in _due(settings, strategy, own, fresh)}


def _fresh_scores(settings: StudySettings, finals: Iterable[FinalScores]) -> dict[int, float]:
    """Return the validation scores of the first seed by number of the trial."""
    first = settings.seed + SEED_OFFSET
    return {final.trial_number: final.val_score for final in finals if final.seed == first}


def _due(
    settings: StudySettings, strategy: str, candidates: Sequence[TrialRecord], fresh: Mapping[int, float]
) -> Sequence[TrialRecord]:
    """Return the candidates of a strategy that shall be trained next: the best and the default, then one at a time."""
    if len(candidates) == 1:
        return ()
    best, *others = candidates
    default = find_default(settings, candidates, strategy)
    if missing := [trial for trial in candidates if trial in (best, default) and trial.number not in fresh]:
        return missing
    top = max(_mean_of_all(trial, fresh) for trial in candidates if trial.number in fresh)
    return [
        trial for trial in others if trial.number not in fresh and may_lead(trial.score or 0.0, top, trial.trainings)
    ][:1]


def may_lead(score: float, top: float, trainings: int = 1) -> bool:
    """Return whether a fresh score may lift the mean of a trial's trainings to another mean.

    Args:
        score: Mean validation score of its trainings in the search.
        top: The other mean.
        trainings: Number of these trainings.

    Examples:
        >>> from frostline.search.study.finalists import may_lead
        >>> may_lead(0.80, top=0.81), may_lead(0.80, top=0.83)
        (True, False)
    """
    needed = (trainings + 1) * top - trainings * score
    return needed <= min(score + _RARE_RISE, 1.0)


def _mean_of_all(trial: TrialRecord, fresh: Mapping[int, float]) -> float:
    """Return the mean validation score of a trial's trainings, one or one for each fold, and the fresh one."""
    return (trial.trainings * (trial.score or 0.0) + fresh[trial.number]) / (trial.trainings + 1)


def is_finalist(final: FinalScores, chosen: Mapping[str, TrialRecord]) -> bool:
    """Return whether a final is one of the chosen finalists'."""
    trial = chosen.get(final.strategy)
    return trial is not None and trial.number == final.trial_number


def _candidates(
    settings: StudySettings, trials: Sequence[TrialRecord], val_images: int | None
) -> dict[str, list[TrialRecord]]:
    """Return the candidates of each strategy that has some: its best trials, and its default configuration as the last.

    What trails the best trial of the study by more than chance is none, but the best of each strategy always is.
    """
    ranked = {
        strategy: best_trials([each for each in trials if each.strategy == strategy and each.final_failed is None])
        for strategy in settings.strategies
    }
    leader = max((own[0].score or 0.0 for own in ranked.values() if own), default=0.0)
    least = leader - score_margin(leader, val_images) if val_images else 0.0
    return {strategy: _of_strategy(settings, strategy, own, least) for strategy, own in ranked.items() if own}


def _of_strategy(
    settings: StudySettings, strategy: str, ranked: Sequence[TrialRecord], least: float
) -> list[TrialRecord]:
    best, *others = ranked
    near = [best, *(each for each in others if (each.score or 0.0) >= least)]
    default = find_default(settings, near, strategy)
    if settings.candidates == 1 or default is None:
        return near[: settings.candidates]
    first = near[: settings.candidates - 1]
    return first if default in first else [*first, default]


def find_default(settings: StudySettings, trials: Iterable[TrialRecord], strategy: str) -> TrialRecord | None:
    """Return the first of the trials that has a strategy's default configuration; None without one."""
    default = settings.space.default(strategy)
    # A trial has further parameters: those that the space leaves at their constant values.
    return next((trial for trial in trials if default.items() <= trial.config.items()), None)
