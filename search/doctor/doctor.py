"""The doctor of a study: finds and repairs inconsistencies between its tables, its files and MLflow.

The study's tables are right about trials and finals; differences in MLflow are logged again. Repairs use the normal
ways: tickets, and the journal with its upload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from ...storage.errors import StorageError, StudyBusyError
from ...storage.locks import exclusive
from ..doctor import file_checks, mlflow_checks, table_checks
from ..study import Study
from .snapshot import Finding, StudySnapshot, is_led_here


@dataclass(frozen=True)
class Check:
    """A check for one kind of inconsistency.

    Attributes:
        find: Function that yields the findings.
        live: Whether it is valid while workers are running, as for data written in one transaction.
        safe: Whether its findings can be repaired while workers are running.
        decisive: Whether its findings must be repaired before other checks are valid.
    """

    find: Callable[[StudySnapshot], Iterator[Finding]]
    live: bool = False
    safe: bool = False
    decisive: bool = False


# In the order of repair: tables first, then files, then MLflow from parent to nested runs.
CHECKS = (
    Check(table_checks.doubled_numbers, live=True, decisive=True),
    Check(table_checks.expired_leases, live=True, safe=True),
    Check(table_checks.done_but_unfinished, live=True),
    Check(table_checks.finished_but_not_done, live=True),
    Check(table_checks.running_without_lease, live=True),
    Check(table_checks.missing_tickets),
    Check(table_checks.trials_over_budget, live=True),
    Check(table_checks.finals_and_tickets),
    Check(file_checks.damaged_features, live=True, safe=True),
    Check(file_checks.orphaned_checkpoints),
    Check(file_checks.damaged_checkpoints),
    Check(mlflow_checks.mlflow_unreachable, live=True),
    Check(file_checks.unsent_records),
    Check(mlflow_checks.doubled_runs),
    Check(mlflow_checks.runs_without_trial),
    Check(mlflow_checks.missing_parent),
    Check(mlflow_checks.missing_strategy_runs),
    Check(mlflow_checks.trials_in_mlflow),
    Check(mlflow_checks.finals_in_mlflow),
    Check(mlflow_checks.orphaned_runs),
    Check(mlflow_checks.doubled_steps),
)


@dataclass
class StudyReport:
    """The result of examining a study.

    Attributes:
        study: Name of the study.
        problems: Remaining findings.
        fixed: Repaired findings.
        active_workers: Running workers; while there are any, MLflow and checkpoints are not compared.
        notes: Messages about what could not be repaired or compared.
    """

    study: str
    problems: list[Finding] = field(default_factory=list)
    fixed: list[Finding] = field(default_factory=list)
    active_workers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_study(study: Study, *, fix: bool = False) -> StudyReport:
    """Find the inconsistencies of a study, and repair them on request.

    Args:
        study: Study to examine.
        fix: Whether to repair.

    Raises:
        StorageError: The database cannot be used.
    """
    said = StudyReport(study.settings.name)
    with ExitStack() as held:
        busy = _hold(study, held) if fix else is_led_here(study)
        evidence = StudySnapshot(study, busy)
        for check in CHECKS if fix else ():
            if _fix(check, evidence, said):
                # Optuna caches finished trials, so the study is loaded again.
                evidence = StudySnapshot(Study.load(study.settings.name, study.workspace), busy)
        said.active_workers = evidence.active_workers
        for check in CHECKS:
            if check.live or not evidence.active_workers:
                said.problems += check.find(evidence)
            if said.problems and check.decisive:
                said.notes.append("Other checks follow once this is repaired.")
                break
    left = {(finding.where, finding.what) for finding in said.problems}
    said.fixed = [finding for finding in said.fixed if (finding.where, finding.what) not in left]
    said.notes += _notes(evidence, said, fix)
    return said


def _hold(study: Study, held: ExitStack) -> bool:
    """Lock a study for the repair; return whether another process of this machine holds it."""
    try:
        held.enter_context(exclusive(study.workspace, study.settings.name))
    except StudyBusyError:
        return True
    return False


def _fix(check: Check, evidence: StudySnapshot, said: StudyReport) -> bool:
    """Repair the findings of a check, unless that would disturb running workers; return whether any was repaired."""
    if evidence.active_workers and not check.safe:
        return False
    before = len(said.fixed)
    for finding in list(check.find(evidence)):
        if finding.mend is not None:
            try:
                finding.mend()
                said.fixed.append(finding)
            except (StorageError, OSError) as error:
                said.notes.append(f"{finding.where}: {error}")
    return len(said.fixed) > before


def _notes(evidence: StudySnapshot, said: StudyReport, fix: bool) -> Iterator[str]:
    study = evidence.study
    if evidence.tracking_uri is None:
        yield "MLflow is in the workspace where the study started, and was not compared."
    if evidence.active_workers:
        yield f"Running: {', '.join(evidence.active_workers)}. MLflow and checkpoints were not compared."
        if fix and said.problems:
            command = f"frostline stop {study.settings.name}{study.workspace.option}"
            yield f"The rest is not repaired while workers are running. Stop them first: {command}"
