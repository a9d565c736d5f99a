"""One trial of a study, named by its number or by its strategy."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.errors import InvalidInputError, unknown_name
from ..records import FinalScores, TrialRecord
from .study import Study


@dataclass(frozen=True)
class ChosenTrial:
    """A trial, and the training of it that is shown or repeated.

    Attributes:
        trial: Record of the trial.
        seed: Seed of the training.
        final: Final with that seed, the one with the best validation score; None if the trial has none.
    """

    trial: TrialRecord
    seed: int
    final: FinalScores | None


def choose_trial(study: Study, name: str | None) -> ChosenTrial:
    """Find a trial.

    Args:
        study: Study of the trial.
        name: Number of the trial; name of a strategy, for its finalist; None for that of the recommended strategy.

    Raises:
        InvalidInputError: There is no such trial, or it has no configuration yet.
    """
    results = study.results()
    trials = {str(trial.number): trial for trial in results.trials}
    if name is None:
        if results.verdict is None:
            raise InvalidInputError(
                f"Study {study.settings.name!r} has no verdict yet. Name a trial: "
                f"frostline show {study.settings.name} NUMBER{study.workspace.option}"
            )
        name = results.verdict.winner.strategy
    found = results.finalists.get(name) or trials.get(name)
    if found is None:
        raise InvalidInputError(unknown_name("trial", name, [*trials, *results.finalists]))
    if not found.config:
        raise InvalidInputError(f"Trial {found.number} has not started: it has no configuration yet.")
    finals = [final for final in study.final_scores() if final.trial_number == found.number]
    final = max(finals, key=lambda each: (each.val_score, -each.seed), default=None)
    return ChosenTrial(found, final.seed if final else study.settings.seed, final)
