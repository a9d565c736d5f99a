"""The verdict in MLflow: a note and metrics on the parent run, one run per strategy above its finals, models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...objectives.data import DataFaults, describe_faults
from ...storage.tracking import StudyTracker, Tracker
from ..analysis import Contender, Errors, Verdict, errors_of, verdict_cells, verdict_titles
from ..formats import in_markdown
from ..records import STRATEGY
from ..study import Study, StudyResults
from .keys import final_key, strategy_key, trial_key
from .registered_models import CHAMPION, KeptModel, kept_models, log_models
from .training_runs import log_errors, test_numbers

FINALIST = "finalist"
# What MLflow groups runs by, beside their strategy: the run above the finals, and its finals.
STANDING = "standing"
_GAP = "&ensp;"
# Commands that turn a photo into a request.
_AS_JSON = (
    "photo=$(base64 -w0 photo.jpg)",
    """echo '{"dataframe_split": {"columns": ["image"], "data": [["'$photo'"]]}}' > photo.json""",
)


def start_strategy_run(tracker: Tracker, strategy: str) -> str:
    """Start the run above a strategy's finals; return its key."""
    key = strategy_key(strategy)
    tracker.run(key, f"finals {strategy}", {}, {STRATEGY: strategy, "kind": "strategy"})
    return key


def log_verdict(
    study: Study, tracker: StudyTracker, verdict: Verdict, results: StudyResults, note: Callable[[str], None]
) -> None:
    """Log the verdict to the parent run, the strategies' runs and the finalists' trials, and register the models.

    Args:
        study: Study.
        tracker: Tracker of the study.
        verdict: Verdict of the study.
        results: Results of the study.
        note: Function that receives messages about models that are not registered.
    """
    models = kept_models(study, verdict, results.stock)
    scores = {f"final/{contender.strategy}": contender.mean for contender in verdict.contenders}
    parent = tracker.parent_run
    parent.log_summary(
        {**scores, **_summary(verdict.winner, verdict), **_fault_counts(results.data_faults)},
        {
            "frostline.winner": verdict.winner.strategy,
            "mlflow.note.content": verdict_note(study, verdict, results, models),
        },
    )
    for rank, contender in enumerate(verdict.contenders, 1):
        own = [final for final in results.finals if final.strategy == contender.strategy]
        _log_contender(tracker, contender, rank, verdict, errors_of(own, study.facts.classes))
    _tag_finalists(study, tracker, verdict)
    _tag_finals(study, tracker, verdict)
    log_models(study, tracker, verdict, models, note)


def _fault_counts(faults: DataFaults | None) -> dict[str, float]:
    return {} if faults is None else {f"data/{name}": float(number) for name, number in faults.counts.items()}


def verdict_note(study: Study, verdict: Verdict, results: StudyResults, models: Sequence[KeptModel]) -> str:
    """Return the verdict in Markdown: a sentence, warnings, a table of the strategies, and how to use the champion."""
    settings, facts = study.settings, study.facts
    name = settings.name
    counts = ", ".join(f"{images:,} {split}" for split, images in facts.counts.items())
    classes = [in_markdown(each) for each in facts.classes]
    said = describe_faults(results.data_faults, classes) if results.data_faults else ""
    return "\n".join(
        [
            *_decision(verdict.sentence()),
            "",
            *(f"{warning}\n" for warning in results.warnings),
            _row(*verdict_titles(verdict), "best in resamplings", "trial"),
            "|---" * (len(verdict_titles(verdict)) + 2) + "|",
            *[_note_row(contender, verdict) for contender in verdict.contenders],
            "",
            f"{settings.backbone} on {in_markdown(settings.data)} ({counts} images, {len(facts.classes)} classes). "
            "Every finalist was trained with fresh seeds; the test split was opened once for each.",
            "",
            *([results.textbook.sentence(), ""] if results.textbook else []),
            *([f"Faults in the data, which the report lists: {said}", ""] if said else []),
            *_use(name, next((model.fault for model in models if model.contender is verdict.winner), "")),
        ]
    )


def _decision(sentence: str) -> list[str]:
    """Return the lines of the decision: its first sentence alone, since MLflow folds all but a line away."""
    first, stop, rest = sentence.partition(". ")
    return [f"**{first}.**", "", rest] if stop else [f"**{first}**"]


def _use(name: str, fault: str) -> list[str]:
    """Return the lines on the use of the champion."""
    if fault:
        return [f"The winner's network is not registered as a model, because it cannot be loaded elsewhere: {fault}"]
    return [
        f"The champion is `models:/{name}@{CHAMPION}`. It takes images in base64 "
        "(`MLFLOW_TRACKING_URI` names this store):",
        "",
        "```",
        *_AS_JSON,
        f"mlflow models predict -m models:/{name}@{CHAMPION} -i photo.json -t json --env-manager local",
        "```",
    ]


def _note_row(contender: Contender, verdict: Verdict) -> str:
    strategy, *cells = verdict_cells(contender, verdict)
    best, trial = verdict.best_shares[contender.strategy], contender.trial_number
    return _row(f"`{strategy}`", *cells, f"{100 * best:.0f} %", f"{trial:03d}")


def _row(*cells: str) -> str:
    """Return a row of a table; MLflow's pages need added space between columns."""
    return f"| {' | '.join(f'{cell}{_GAP}' for cell in cells)} |"


def _summary(contender: Contender, verdict: Verdict) -> dict[str, float]:
    low, high = contender.score_interval
    clean = verdict.leaks.scores if verdict.leaks else {}
    return {
        "test_score": contender.mean,
        "test_score_low": low,
        "test_score_high": high,
        **({"test_score_sd": contender.spread} if len(contender.scores) > 1 else {}),
        "test_images": verdict.test_images,
        "probability_best": verdict.best_shares[contender.strategy],
        **({"test_score_without_leaks": clean[contender.strategy]} if contender.strategy in clean else {}),
    }


def _log_contender(tracker: Tracker, contender: Contender, rank: int, verdict: Verdict, errors: Errors) -> None:
    start_strategy_run(tracker, contender.strategy)
    run = tracker.known(strategy_key(contender.strategy))
    low, high = contender.interval or (0.0, 0.0)
    costs = {"seconds": contender.seconds, "trainable_parameters": contender.trainable_parameters}
    costs |= contender.costs.known
    gap = {"gap_to_leader": contender.gap_to_leader, "gap_low": low, "gap_high": high}
    # Only strategies have these: MLflow orders its list by the one, and charts the other.
    place = {"rank": rank, "final_score": contender.mean}
    run.log_summary(
        {**_summary(contender, verdict), **gap, **place, **costs, **test_numbers(contender)},
        {STANDING: _standing(contender, verdict), "trial": str(contender.trial_number)},
    )
    log_errors(run, errors)
    name = f"finals {contender.strategy} {contender.mean:.3f} ± {contender.spread:.3f} {verdict.standing(contender)}"
    run.finish("FINISHED", name.strip())


def _tag_finalists(study: Study, tracker: Tracker, verdict: Verdict) -> None:
    """Tag present and former finalists: more trials may have replaced earlier ones."""
    current = {contender.trial_number for contender in verdict.contenders}
    for number in {trial_number for _, trial_number, _ in study.final_identities()}:
        tag = "yes" if number in current else "former"
        tracker.known(trial_key(number)).log_summary({}, {FINALIST: tag})


def _tag_finals(study: Study, tracker: Tracker, verdict: Verdict) -> None:
    """Tag the finals that count with their strategy's standing, the others as candidates."""
    standings = {(each.strategy, each.trial_number): _standing(each, verdict) for each in verdict.contenders}
    for identity in study.final_identities():
        tag = standings.get(identity[:2], "candidate")
        tracker.known(final_key(*identity)).log_summary({}, {STANDING: tag})


def _standing(contender: Contender, verdict: Verdict) -> str:
    return verdict.standing(contender) or "beaten"
