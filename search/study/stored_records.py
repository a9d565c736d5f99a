"""Records from what the database keeps of a study: its facts, trials and finals."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from ...objectives.metrics import one_hot
from ...objectives.precision import PrecisionChoice
from ...storage.database import StoredFinal
from ..records import FINISHED, STRATEGY, FinalRecord, FinalScores, FoldRecord, TrialRecord, read_finalist
from .facts import StudyFacts
from .trial_rows import STATE_WORDS, TrialRow

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# User attributes that a trial stores when it starts (config) and ends (seconds, reason, ...).
STARTED, OUTCOME = "frostline:started", "frostline:outcome"
# And, after each fold, what the folds so far came to.
FOLDS = "frostline:folds"
# Attributes of a study that name a finalist which could not be trained again begin so.
FINAL_FAILED = "frostline:final_failed:"


def trial_record(trial: FrozenTrial, alive: Container[int] = ()) -> TrialRecord:
    """Convert an Optuna trial to a record.

    Args:
        trial: Optuna trial.
        alive: Numbers of the trials under a valid lease; other running trials wait for a worker.
    """
    row = TrialRow(
        trial.number,
        STATE_WORDS[trial.state.name],
        trial.datetime_complete,
        trial.value,
        trial.params.get(STRATEGY),
        trial.intermediate_values,
        trial.user_attrs,
    )
    return record_of_row(row, alive)


def record_of_row(row: TrialRow, alive: Container[int] = ()) -> TrialRecord:
    """Convert a trial's row to a record; arguments as in :func:`trial_record`."""
    known: dict[str, Any] = row.attributes.get(STARTED, {}) | row.attributes.get(OUTCOME, {})
    curve = dict(sorted(row.steps.items()))
    folds = read_folds(row.attributes)
    score = row.value if row.state in FINISHED else None
    cut_off = row.state == "running" and row.number not in alive
    return TrialRecord(
        number=row.number,
        state="waiting" if cut_off else row.state,
        strategy=row.strategy,
        config=known.get("config", {}),
        # Optuna keeps the last report of a pruned trial; the budget prunes also what leads. Over folds, it is the mean.
        score=max(curve.values()) if known.get("ended_by") and curve and not folds else score,
        curve=curve,
        seconds=known.get("seconds"),
        trainable_parameters=known.get("trainable_parameters"),
        freeze_depth=known.get("freeze_depth"),
        reason=known.get("reason"),
        finished=row.ended,
        epochs=known.get("epochs"),
        log_loss=known.get("val/log_loss"),
        ended_by=known.get("ended_by"),
        folds=folds,
    )


def read_folds(attributes: Mapping[str, Any]) -> tuple[FoldRecord, ...]:
    """Return what the folds of a trial came to so far, from its attributes."""
    return tuple(FoldRecord(**fold) for fold in attributes.get(FOLDS, ()))


def final_record_of(final: StoredFinal, classes: int) -> FinalRecord:
    """Return a final with its predictions; older versions kept the predicted classes only."""
    known = final.probabilities
    probabilities = one_hot(final.predictions, classes) if known is None else known
    scores = FinalScores.from_row(final.outcome, final.seed)
    return scores.with_predictions(final.labels, probabilities, classes_only=known is None)


def failed_finals(attributes: Mapping[str, Any]) -> dict[int, str]:
    """Return why configurations could not be trained again, by trial number, from the attributes of a study."""
    return {
        read_finalist(name.removeprefix(FINAL_FAILED))[1]: reason
        for name, reason in attributes.items()
        if name.startswith(FINAL_FAILED)
    }


def read_facts(text: str) -> StudyFacts:
    """Return the facts of a study from their JSON; older studies have fewer."""
    facts = json.loads(text)
    listed = ("classes", "units", "frozen_flops", "notes", "data_notes", "folds")
    tuples = {name: tuple(facts.get(name, ())) for name in listed}
    chosen = facts.get("precision")
    own = {
        "skipped": tuple((path, reason) for path, reason in facts["skipped"]),
        "precision": None if chosen is None else PrecisionChoice.from_row(chosen),
    }
    return StudyFacts(**{**facts, **tuples, **own})
