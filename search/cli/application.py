"""The Typer app, the mapping from errors to messages and exit codes, and helpers of several commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from ...objectives.backbones import Backbone
    from ...storage.workspace import Workspace
    from ..study import DryRun, Observer, Study, StudyResults

INTERRUPTED = 130


class Views(Protocol):
    """The output of the command line, implemented by the layer above."""

    def observer(self) -> Observer:
        """Return an observer that shows a running study on the terminal."""
        ...

    def results(self, results: StudyResults) -> None:
        """Show the progress of a study."""
        ...

    def studies(self, every: list[StudyResults]) -> None:
        """Show a list of studies."""
        ...

    def ended(self, study: Study) -> None:
        """Show a study that reached its verdict."""
        ...

    def report(self, study: Study) -> Path:
        """Write a study's report and return its path."""
        ...

    def curve(self, study: Study) -> None:
        """Show a study's data-size curve."""
        ...

    def truncation(self, study: Study) -> None:
        """Show what the cuts of a study's pretrained network score and cost."""
        ...

    def plan(self, plan: DryRun) -> None:
        """Show what a search would do and take."""
        ...

    def backbones(self) -> None:
        """Show the backbones that can be searched."""
        ...

    def units(self, backbone: Backbone) -> None:
        """Show the units of one backbone."""
        ...


_TYPE_AGAIN = "Set that right, then type the command again: what is finished is kept."


class _Group(TyperGroup):
    """Turn errors meant for users into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            typer.echo(f"\n{interrupt}" if str(interrupt) else "\nStopped.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        # What is not meant for users is raised again.
        except Exception as error:
            said, code = _explain(error)
            if code is None:
                raise
            for line in said.splitlines():
                typer.secho(line, err=True, fg=typer.colors.RED)
            raise typer.Exit(code) from None


def _explain(error: Exception) -> tuple[str, int | None]:
    """Return what to say of an error, and the exit status: 2 for wrong input, 1 for a failure while running.

    The status is None for a bug, which keeps its traceback.
    """
    from ...objectives.errors import InvalidInputError, ObjectiveError
    from ...storage.errors import StorageError, UnreachableError, UnusableError, machine_fault

    if isinstance(error, InvalidInputError | UnusableError):
        return str(error), 2
    if isinstance(error, ObjectiveError | StorageError):
        said, cause = str(error), error.__cause__
        failing = isinstance(error, UnreachableError) or (cause is not None and machine_fault(cause))
        # Others say what to type.
        return f"{said.rstrip('.')}. {_TYPE_AGAIN}" if failing and "frostline " not in said else said, 1
    # Optuna's error of a database that fails; its class is not imported for this.
    if type(error).__name__ == "StorageInternalError":
        reason = str(getattr(error.__cause__, "orig", None) or error).splitlines()[0]
        return f"The studies' database cannot be used: {reason}. Restore it from a copy, or name another workspace.", 1
    if fault := machine_fault(error):
        return f"{fault} {_TYPE_AGAIN}", 1
    return "", None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find out which way of using a pretrained network wins on an image dataset.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"frostline {version('frostline')}")
        raise typer.Exit


@app.callback()
def _frostline(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Accept the options of the program itself."""


def locate(workspace: Path | None, storage: str | None = None, artifacts: str | None = None) -> Workspace:
    """Return the workspace that the options name; see :meth:`Workspace.locate`."""
    from ...storage.workspace import Workspace

    return Workspace.locate(workspace, storage, artifacts)


def observer_of(ctx: typer.Context, as_json: bool) -> Observer:
    """Return the observer of a command; with ``--json`` it writes progress to standard error."""
    if not as_json:
        return ctx.obj.observer()
    from ..study import LineProgress

    return LineProgress(lambda line: print(line, file=sys.stderr, flush=True))


def end(ctx: typer.Context, study: Study, as_json: bool, *, show: Callable[[Study], None] | None = None) -> None:
    """Show a study that reached its verdict; with ``--json`` print it, after the path of its report.

    Args:
        ctx: Context of the command.
        study: Study to show.
        as_json: Whether ``--json`` was given.
        show: View without ``--json``; None for the verdict.
    """
    if as_json:
        typer.echo(f"Report:  {ctx.obj.report(study)}", err=True)
        typer.echo(json.dumps(describe_results(study.results()), indent=2))
    else:
        (show or ctx.obj.ended)(study)


def describe_results(results: StudyResults) -> dict[str, Any]:
    """Return a study as plain values for scripts."""
    from .results_json import describe

    return describe(results)
