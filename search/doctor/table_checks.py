"""Checks of a study's tables: Optuna's trials, tickets with leases, recorded finals."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby

from optuna.trial import TrialState

from ...storage.database import Ticket, describe_worker, expire_dead_workers, has_ended, reclaim_expired, set_done
from ..study import Study, remove_trial, set_state
from .snapshot import Finding, StudySnapshot, TrialRow, is_gone

# A worker whose lease expired this long ago will not return.
GONE_SECONDS = 60.0


def doubled_numbers(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find several trials with one number."""
    for number, rows in groupby(evidence.tables.trials, lambda trial: trial.number):
        # The finished trial counts; of equals, the first.
        kept, *others = sorted(rows, key=lambda trial: (not trial.state.is_finished(), trial.id))
        for other in others:
            yield Finding(
                f"Optuna has number {number} twice: {_state(kept)} and {_state(other)}",
                kept.name,
                f"the {_state(other)} one is removed",
                partial(_remove, evidence.study, other),
            )


def missing_tickets(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find trials without a ticket, which no worker would run.

    None is missing where only the budget limits them, or the search ended early.
    """
    study, there = evidence.study, evidence.tables.tickets
    wanted = 0 if study.ending() else study.settings.trials or 0
    if missing := [number for number in range(wanted) if number not in there]:
        yield Finding(
            f"{len(missing)} of {study.settings.trials} trials of the budget have no ticket",
            f"trial {', '.join(map(str, missing[:10]))}{' ...' if missing[10:] else ''}",
            "tickets are issued",
            partial(_make_ready, study),
        )


def trials_over_budget(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find trials beyond the budget, which no worker of Frostline created."""
    study, there = evidence.study, evidence.tables.tickets
    if study.settings.trials is None:
        return
    for trial in evidence.tables.trials:
        if trial.number >= study.settings.trials and trial.number not in there:
            yield Finding(
                f"a {_state(trial)} trial is beyond the budget of {study.settings.trials}: another program made it",
                trial.name,
                f"frostline resume {study.settings.name} --trials {trial.number + 1}{study.workspace.option} makes it "
                "one of the study",
            )


def expired_leases(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find leases of workers that ended or send no heartbeat."""
    rows = {trial.number: trial for trial in evidence.tables.trials}
    for ticket in evidence.tables.leased:
        if is_gone(ticket, GONE_SECONDS):
            trial = rows.get(ticket.number) if ticket.kind == "trial" else None
            owner = str(ticket.owner)
            silent = -(ticket.seconds_left or 0.0)
            why = (
                "is no longer valid: the worker has ended"
                if has_ended(owner)
                else f"has expired (no heartbeat for {silent:.0f} s)"
            )
            yield Finding(
                f"lease held by {describe_worker(owner)} {why}",
                _name(ticket),
                "it is released; the next worker resumes it from its last checkpoint",
                partial(_free, evidence.study, ticket, trial),
            )


def running_without_lease(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find trials that Optuna has as running without a lease."""
    for trial, ticket in _with_tickets(evidence):
        if trial.state == TrialState.RUNNING and ticket.owner is None and not ticket.done:
            yield Finding(
                "Optuna has it as running, but no worker holds its lease",
                trial.name,
                "it is set to waiting for the next worker",
                partial(_set_waiting, evidence.study, trial),
            )


def done_but_unfinished(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find done tickets whose trial is missing or not finished."""
    rows = {trial.number: trial for trial in evidence.tables.trials}
    for number, ticket in evidence.tables.tickets.items():
        trial = rows.get(number)
        if ticket.done and (trial is None or not trial.state.is_finished()):
            state = "is missing" if trial is None else f"is {_state(trial)}"
            yield Finding(
                f"its ticket is done, but the trial {state} in Optuna",
                f"trial {number}",
                "the ticket is opened again, for the next worker",
                partial(_reopen, evidence.study, ticket, trial),
            )


def finished_but_not_done(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find finished trials with an open ticket, which would run again."""
    for trial, ticket in _with_tickets(evidence):
        if trial.state.is_finished() and not ticket.done:
            yield Finding(
                f"it is {_state(trial)} in Optuna, but its ticket is open: it would run again",
                trial.name,
                "its ticket is marked done",
                partial(_settle, evidence.study, ticket, done=True),
            )


def finals_and_tickets(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find recorded finals without a done ticket, and done tickets of finalists without a recorded final."""
    study, recorded = evidence.study, evidence.tables.finals
    tickets = {str(ticket.subject): ticket for ticket in evidence.tables.final_tickets}
    for identity, seed in sorted(recorded):
        subject = f"{identity} {seed}"
        ticket = tickets.get(subject)
        if ticket is None or not ticket.done:
            yield Finding(
                f"it is recorded, but {'has no ticket' if ticket is None else 'its ticket is open'}",
                f"final {subject}",
                "its ticket is marked done",
                partial(_settle_final, study, subject),
            )
    for due in study.candidates(study.trials()):
        ticket = tickets.get(due.subject)
        # The ticket of a former finalist ends without a final.
        if ticket is not None and ticket.done and (due.identity, due.seed) not in recorded:
            yield Finding(
                "its ticket is done, but it is not recorded",
                f"final {due.subject}",
                "the ticket is opened again, for the next worker",
                partial(_settle, study, ticket, done=False),
            )


def _with_tickets(evidence: StudySnapshot) -> Iterator[tuple[TrialRow, Ticket]]:
    there = evidence.tables.tickets
    return ((trial, there[trial.number]) for trial in evidence.tables.trials if trial.number in there)


def _state(trial: TrialRow) -> str:
    return trial.state.name.lower()


def _name(ticket: Ticket) -> str:
    return f"{ticket.kind} {ticket.number if ticket.subject is None else ticket.subject}"


def _remove(study: Study, trial: TrialRow) -> None:
    with study.database.session() as session:
        remove_trial(session, trial.id)


def _make_ready(study: Study) -> None:
    study.ready()


def _free(study: Study, ticket: Ticket, trial: TrialRow | None) -> None:
    expire_dead_workers(study.database, study.settings.name)
    with study.database.session() as session:
        if reclaim_expired(session, ticket.id) and trial is not None and trial.state == TrialState.RUNNING:
            set_state(session, trial.id, state=TrialState.WAITING)


def _set_waiting(study: Study, trial: TrialRow) -> None:
    with study.database.session() as session:
        set_state(session, trial.id, state=TrialState.WAITING)


def _reopen(study: Study, ticket: Ticket, trial: TrialRow | None) -> None:
    with study.database.session() as session:
        set_done(session, ticket.id, done=False)
        if trial is not None:
            set_state(session, trial.id, state=TrialState.WAITING)


def _settle(study: Study, ticket: Ticket, *, done: bool) -> None:
    with study.database.session() as session:
        set_done(session, ticket.id, done=done)


def _settle_final(study: Study, subject: str) -> None:
    study.final_tickets.issue_for([subject])
    for ticket in StudySnapshot(study, busy=False).tables.final_tickets:
        if ticket.subject == subject:
            _settle(study, ticket, done=True)
