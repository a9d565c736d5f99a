"""Checks of MLflow against the study. The study is right; the repair logs it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from ...storage.tracking import Journal, TrackedRun, Tracker, parent_key
from ..records import FINISHED, FinalScores, TrialRecord, finalist_name
from ..study import Study
from ..tracking import (
    SCORE_CURVE,
    final_key,
    finish_final_run,
    finish_trial_run,
    parent_tags,
    start_final_run,
    start_strategy_run,
    start_trial_run,
    strategy_key,
    trial_key,
)
from .file_checks import send
from .snapshot import Finding, StudySnapshot

if TYPE_CHECKING:
    from ...storage.tracking import KnownRun


def mlflow_unreachable(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find an MLflow that is unreachable or of another schema, or one where the study's experiment was deleted."""
    if evidence.tracked is None and evidence.away:
        command = f"frostline doctor {evidence.study.settings.name}{evidence.study.workspace.option}"
        yield Finding(evidence.away, "MLflow", f"{evidence.remedy}; then run: {command}")


def doubled_runs(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find several runs with one key."""
    tracked, seen = evidence.tracked, set[str]()
    if tracked is None:
        return
    for run in tracked.runs:
        # The sender continues the first run.
        if run.key in seen:
            yield Finding(
                "it has more than one MLflow run",
                _name(run.key),
                f"run {run.id} is deleted in MLflow (it can be restored there); the first run stays",
                partial(tracked.delete, run),
            )
        seen.add(run.key)


def runs_without_trial(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find runs of trials that the study does not have."""
    tracked, known = evidence.tracked, {trial_key(trial.number) for trial in evidence.study.trials()}
    if tracked is None:
        return
    for run in tracked.runs:
        if run.key.startswith("trial-") and run.key not in known:
            yield Finding(
                "MLflow has a run of it, but the study has no such trial",
                _name(run.key),
                f"run {run.id} is deleted in MLflow (it can be restored there)",
                partial(tracked.delete, run),
            )


def missing_parent(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find a missing parent run."""
    study = evidence.study
    key = parent_key(study.settings.name)
    if evidence.tracked is None or key in _by_key(evidence) or key in evidence.unsent:
        return
    if any(trial.state in FINISHED for trial in study.trials()):
        yield Finding(
            "MLflow has no run of the study",
            f"study {study.settings.name}",
            f"it is created; {_resume(study)} logs the verdict again",
            partial(_tell, study, partial(_tell_study, study)),
        )


def missing_strategy_runs(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find missing runs of strategies, or runs nested in the wrong parent."""
    study, runs = evidence.study, _by_key(evidence)
    parent = runs.get(parent_key(study.settings.name))
    for strategy in dict.fromkeys(strategy for strategy, _, _ in study.final_identities()) if evidence.tracked else ():
        key = strategy_key(strategy)
        run = runs.get(key)
        if key not in evidence.unsent and (run is None or (parent and run.parent != parent.id)):
            yield Finding(
                "MLflow has no run above its finals" if run is None else "its run is not nested in the study's",
                f"strategy {strategy}",
                f"it is logged again; {_resume(study)} adds its numbers",
                partial(_tell, study, partial(_tell_strategy, strategy)),
            )


def trials_in_mlflow(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find finished trials whose run is missing or different."""
    study, tracked, runs = evidence.study, evidence.tracked, _by_key(evidence)
    if tracked is None:
        return
    parent = runs.get(parent_key(study.settings.name))
    for trial in study.trials():
        key = trial_key(trial.number)
        # A trial with an invalid configuration never started a run.
        if trial.state not in FINISHED or not trial.config or key in evidence.unsent:
            continue
        run = runs.get(key)
        steps = tracked.steps(run, SCORE_CURVE) if run else []
        if what := list(_differences(trial, run, steps, parent)):
            mend = partial(_tell, study, partial(_retell, study, trial))
            yield Finding("; ".join(what), f"trial {trial.number}", "it is logged again", mend)


def finals_in_mlflow(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find finals whose run is missing or different."""
    study, runs = evidence.study, _by_key(evidence)
    for final in study.final_scores() if evidence.tracked else ():
        key = final_key(*final.identity)
        if key in evidence.unsent:
            continue
        run, above = runs.get(key), runs.get(strategy_key(final.strategy))
        if what := list(_final_differences(final, run, above)):
            place = f"final {final.strategy}-{final.trial_number} {final.seed}"
            mend = partial(_tell, study, partial(_retell_final, study, final))
            yield Finding("; ".join(what), place, "it is logged again", mend)


def doubled_steps(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find runs that have an epoch twice."""
    tracked = evidence.tracked
    if tracked is None:
        return
    for run in _by_key(evidence).values():
        steps = tracked.steps(run, SCORE_CURVE)
        if twice := sorted({step for step in steps if steps.count(step) > 1}):
            yield Finding(
                f"MLflow has its epochs {', '.join(map(str, twice))} twice",
                _name(run.key),
                f"MLflow cannot remove single points: delete run {run.id} there, then frostline doctor "
                f"{evidence.study.settings.name} --fix{evidence.study.workspace.option}",
            )


def orphaned_runs(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find runs whose status does not match: running without a worker, or ended although the training is not."""
    study = evidence.study
    decided = study.decided()
    recorded = {final_key(*identity) for identity in study.final_identities()}
    waiting = {trial_key(trial.number) for trial in study.trials() if trial.state not in FINISHED}
    failed = tuple(
        f"final-{finalist_name(str(each.strategy), each.number)}-" for each in study.trials() if each.final_failed
    )
    for key, run in _by_key(evidence).items():
        if key.startswith(failed) and run.status == "FAILED":
            continue
        training, of_curve = key.startswith(("trial-", "final-", "curve-")), key.startswith("curve-")
        # The other checks compare runs of recorded trainings.
        if (
            key in evidence.unsent
            or key in recorded | evidence.curve_keys
            or (key.startswith("trial-") and key not in waiting)
        ):
            continue
        status = "FINISHED" if decided and not training else "KILLED"
        if run.status == "RUNNING" or (training and not of_curve and run.status != "KILLED"):
            yield Finding(
                f"MLflow has its run as {run.status}, but no worker works on it",
                _name(key),
                f"the run is ended as {status}",
                partial(_tell, study, partial(_finish, key, status)),
            )


def _differences(trial: TrialRecord, run: KnownRun | None, steps: list[int], parent: KnownRun | None) -> Iterator[str]:
    """Yield the differences between a finished trial and its run."""
    if run is None:
        yield "MLflow has no run of it"
        return
    status = "FAILED" if trial.state == "failed" else "FINISHED"
    said = run.tags.get("trial.state", "unfinished")
    if run.status != status or said != trial.state:
        yield f"it is {trial.state}; MLflow has it as {said}, {run.status}"
    if not _same(trial.score, run.metrics.get("score")):
        yield f"its score is {trial.score}; MLflow has {run.metrics.get('score')}"
    if missing := sorted(trial.curve.keys() - set(steps)):
        yield f"MLflow lacks its epochs {', '.join(map(str, missing))}"
    if parent is not None and run.parent != parent.id:
        yield "its run is not nested in the study's"


def _final_differences(final: FinalScores, run: KnownRun | None, above: KnownRun | None) -> Iterator[str]:
    if run is None:
        yield "MLflow has no run of it"
        return
    if run.status != "FINISHED":
        yield f"it is recorded; MLflow has it as {run.status}"
    for name, value in (("score", final.val_score), ("test_score", final.test_score)):
        if not _same(value, run.metrics.get(name)):
            yield f"its {name} is {value}; MLflow has {run.metrics.get(name)}"
    if above is not None and run.parent != above.id:
        yield "its run is not nested in its strategy's"


def _same(own: float | None, other: float | None) -> bool:
    if own is None or other is None:
        return own is other
    return math.isclose(own, other, rel_tol=1e-9) or (math.isnan(own) and math.isnan(other))


def _by_key(evidence: StudySnapshot) -> dict[str, KnownRun]:
    """Return the run of each key; of several runs, the first."""
    return {run.key: run for run in reversed(evidence.tracked.runs)} if evidence.tracked else {}


def _name(key: str) -> str:
    kind, _, rest = key.partition("-")
    return f"{kind} {rest}"


def _resume(study: Study) -> str:
    """The command that logs the verdict; `frostline verdict` only prints that of a study that is complete."""
    return f"frostline resume {study.settings.name}{study.workspace.option}"


# Repairs go through the journal, as all logging does.


def _tell(study: Study, say: Callable[[Tracker], None]) -> None:
    """Append records to the journal and upload them; the caller has locked the study."""
    name = study.settings.name
    with closing(Journal(study.workspace.journal(name))) as journal:
        say(Tracker(journal, study.workspace, name))
    send(study)


def _tell_study(study: Study, tracker: Tracker) -> None:
    name = study.settings.name
    run = TrackedRun(tracker.journal, parent_key(name))
    run.start(name, {}, {**parent_tags(study), **study.identify().tags})
    run.finish("FINISHED" if study.decided() else "KILLED")


def _tell_strategy(strategy: str, tracker: Tracker) -> None:
    tracker.known(start_strategy_run(tracker, strategy)).finish("FINISHED")


def _retell(study: Study, trial: TrialRecord, tracker: Tracker) -> None:
    """Log all of a trial again; the sender skips what MLflow has already."""
    run = start_trial_run(tracker, trial.number, trial.config, study.settings.backbone)
    finish_trial_run(run, trial, study.settings.backbone, study.outcome(trial.number))


def _retell_final(study: Study, final: FinalScores, tracker: Tracker) -> None:
    config = study.trial(final.trial_number).config
    run = start_final_run(tracker, final.strategy, final.trial_number, final.seed, config)
    finish_final_run(run, study.final_record(*final.identity), study)


def _finish(key: str, status: str, tracker: Tracker) -> None:
    tracker.known(key).finish(status)
