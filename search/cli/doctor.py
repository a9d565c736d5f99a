"""The command that checks studies and machines: doctor.

The commands import heavy modules when they run, so ``--help`` is fast.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .application import locate
from .options import JsonOption, StorageOption, WorkspaceOption

if TYPE_CHECKING:
    from ...storage.workspace import Workspace
    from ..doctor import Finding, StudyReport


def doctor(
    study: Annotated[str | None, typer.Argument(help="Name of the study.", show_default="this machine")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Repair the inconsistencies.")] = False,
    storage: StorageOption = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            "--tracking-uri", help="MLflow server to check from this machine.", show_default="the workspace's"
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a study's database, files and MLflow for inconsistencies. Without a study, check this machine."""
    place = locate(workspace, storage)
    if fault := _misplaced(study, fix, tracking_uri):
        from ...objectives.errors import InvalidInputError

        raise InvalidInputError(fault)
    sound = _machine(place, tracking_uri, as_json) if study is None else _study(study, place, fix, as_json)
    raise typer.Exit(0 if sound else 1)


def _misplaced(study: str | None, fix: bool, tracking_uri: str | None) -> str:
    """Return why the options contradict each other; empty if they do not."""
    if fix and study is None:
        return "--fix repairs a study. Name it: frostline doctor STUDY --fix"
    return "--tracking-uri is for checking this machine; a study has its own." if study and tracking_uri else ""


def _machine(place: Workspace, tracking_uri: str | None, as_json: bool) -> bool:
    from ..doctor import inspect_machine

    lines = []
    for line in inspect_machine(place, tracking_uri):
        lines.append(line)
        if not as_json:
            typer.echo(f"{'ok     ' if not line.advice else 'not ok '} {line.what:<12} {line.found}")
            if line.advice:
                typer.echo(f"{'':21}-> {line.advice}")
    if as_json:
        typer.echo(json.dumps([{**vars(line), "ok": not line.advice} for line in lines], indent=2))
    return not any(line.advice for line in lines)


def _study(name: str, place: Workspace, fix: bool, as_json: bool) -> bool:
    from ..doctor import check_study
    from ..study import Study

    opened = Study.load(name, place)
    said = check_study(opened, fix=fix)
    opened.close()
    if as_json:
        typer.echo(json.dumps(_describe(said), indent=2))
    else:
        _print(said, f"frostline doctor {name} --fix{place.option}", fix)
    return not said.problems


def _print(said: StudyReport, command: str, fix: bool) -> None:
    for finding in said.fixed:
        typer.echo(f"fixed   {finding.where}: {finding.what}; {finding.remedy}")
    for finding in said.problems:
        typer.echo(f"found   {finding.where}: {finding.what}")
        typer.echo(f"{'':8}-> {finding.remedy}{f', by: {command}' if finding.mend and not fix else ''}")
    for note in said.notes:
        typer.echo(note)
    if not said.problems:
        typer.echo(f"{said.study}: no inconsistencies in its tickets, leases, trials, finals, files and MLflow")


def _describe(said: StudyReport) -> dict[str, object]:
    """Return the result as plain values for scripts."""
    return {
        "study": said.study,
        "agrees": not said.problems,
        "problems": [_plain(finding) for finding in said.problems],
        "fixed": [_plain(finding) for finding in said.fixed],
        "active_workers": said.active_workers,
        "notes": said.notes,
    }


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "what": finding.what,
        "where": finding.where,
        "remedy": finding.remedy,
        "can_be_mended": finding.mend is not None,
    }
