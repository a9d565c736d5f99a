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
from ..study.study import Study
from .snapshot import Evidence, Finding, is_led_here


@dataclass(frozen=True)
class Check:
    """A check for one kind of inconsistency.

    Attributes:
        find: Function that yields the findings.
        live: Whether it is valid while workers are running, as for data written in one transaction.
        safe: Whether its findings can be repaired while workers are running.
        decisive: Whether its findings must be repaired before other checks are valid.
    """

    find: Callable[[Evidence], Iterator[Finding]]
    live: bool = False
    safe: bool = False
    decisive: bool = False


# In the order of repair: tables first, then files, then MLflow from parent to nested runs.
CHECKS = (
    Check(table_checks.doubled_numbers, live=True, decisive=True),
    Check(table_checks.leases_of_the_gone, live=True, safe=True),
    Check(table_checks.done_and_not_finished, live=True),
    Check(table_checks.finished_and_not_done, live=True),
    Check(table_checks.running_and_not_held, live=True),
    Check(table_checks.missing_tickets),
    Check(table_checks.trials_beyond_the_budget, live=True),
    Check(table_checks.finals_and_tickets),
    Check(file_checks.damaged_features, live=True, safe=True),
    Check(file_checks.checkpoints_of_nobody),
    Check(file_checks.damaged_checkpoints),
    Check(mlflow_checks.mlflow_that_is_away, live=True),
    Check(file_checks.records_not_sent),
    Check(mlflow_checks.doubled_runs),
    Check(mlflow_checks.runs_of_no_trial),
    Check(mlflow_checks.missing_parent),
    Check(mlflow_checks.missing_strategy_runs),
    Check(mlflow_checks.trials_in_mlflow),
    Check(mlflow_checks.finals_in_mlflow),
    Check(mlflow_checks.running_of_nobody),
    Check(mlflow_checks.doubled_steps),
)


@dataclass
class Examination:
    """The result of examining a study.

    Attributes:
        study: Name of the study.
        left: Remaining findings.
        mended: Repaired findings.
        at_work: Running workers; while there are any, MLflow and checkpoints are not compared.
        notes: Messages about what could not be repaired or compared.
    """

    study: str
    left: list[Finding] = field(default_factory=list)
    mended: list[Finding] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def examine(study: Study, *, fix: bool = False) -> Examination:
    """Find the inconsistencies of a study, and repair them on request.

    Args:
        study: Study to examine.
        fix: Whether to repair.

    Raises:
        StorageError: The database cannot be used.
    """
    said = Examination(study.settings.name)
    with ExitStack() as held:
        busy = _hold(study, held) if fix else is_led_here(study)
        evidence = Evidence(study, busy)
        for check in CHECKS if fix else ():
            if _mend(check, evidence, said):
                # Optuna caches finished trials, so the study is loaded again.
                evidence = Evidence(Study.load(study.settings.name, study.workspace), busy)
        said.at_work = evidence.at_work
        for check in CHECKS:
            if check.live or not evidence.at_work:
                said.left += check.find(evidence)
            if said.left and check.decisive:
                said.notes.append("Other checks follow once this is repaired.")
                break
    left = {(finding.where, finding.what) for finding in said.left}
    said.mended = [finding for finding in said.mended if (finding.where, finding.what) not in left]
    said.notes += _notes(evidence, said, fix)
    return said


def _hold(study: Study, held: ExitStack) -> bool:
    """Lock a study for the repair; return whether another process of this machine holds it."""
    try:
        held.enter_context(exclusive(study.workspace, study.settings.name))
    except StudyBusyError:
        return True
    return False


def _mend(check: Check, evidence: Evidence, said: Examination) -> bool:
    """Repair the findings of a check, unless that would disturb running workers; return whether any was repaired."""
    if evidence.at_work and not check.safe:
        return False
    before = len(said.mended)
    for finding in list(check.find(evidence)):
        if finding.mend is not None:
            try:
                finding.mend()
                said.mended.append(finding)
            except StorageError as error:
                said.notes.append(f"{finding.where}: {error}")
    return len(said.mended) > before


def _notes(evidence: Evidence, said: Examination, fix: bool) -> Iterator[str]:
    study = evidence.study
    if evidence.tracking_uri is None:
        yield "MLflow is in the workspace where the study started, and was not compared."
    if evidence.at_work:
        yield f"Running: {', '.join(evidence.at_work)}. MLflow and checkpoints were not compared."
        if fix and said.left:
            command = f"frostline stop {study.settings.name}{study.workspace.option}"
            yield f"The rest is not repaired while workers are running. Stop them first: {command}"
