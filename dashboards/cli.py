"""The command ``frostline``: the commands of the search, the report and the MLflow UI."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from ..search.cli import StorageOption, StudyArgument, WorkspaceOption, app, locate
from ..search.collector import collection_paused
from ..storage.program import run_program
from .views import TerminalViews, write_study_report

if TYPE_CHECKING:
    from ..search.study import Study

__all__ = ["TerminalViews", "app", "main"]

MLFLOW_PORT = 5000


@app.command()
def report(
    study: StudyArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.", show_default="in the workspace")
    ] = None,
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a study's report as one HTML file, and log it to its MLflow run."""
    with collection_paused():
        from ..search.study import Study

        typer.echo(write_study_report(Study.load(study, locate(workspace, storage)), output))


@app.command()
def ui(
    study: Annotated[str | None, typer.Argument(help="Study to open.", show_default=False)] = None,
    port: Annotated[
        int,
        typer.Option(
            "--port", "-p", min=1, max=65535, help="Port of the MLflow UI, which only this machine can reach."
        ),
    ] = MLFLOW_PORT,
    optuna: Annotated[bool, typer.Option("--optuna", help="Open the Optuna dashboard as well.")] = False,
    optuna_port: Annotated[
        int | None,
        typer.Option(
            "--optuna-port",
            min=1,
            max=65535,
            help="Port of the Optuna dashboard.",
            show_default="the first free one above --port",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser if there is a screen.")] = True,
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Open the MLflow UI of a workspace; Ctrl-C ends it."""
    from ..search.study import Study
    from .servers import UiError, optuna_server, serve_ui

    place = locate(workspace, storage)
    opened = Study.load(study, place) if study else None
    uri = (opened and opened.tracking_uri) or place.tracking_url
    if uri == place.tracking_url and not (place.root / "mlflow.db").exists():
        typer.secho(
            f"There are no trials in {place.root}. Start a search with: frostline search DATA", err=True, fg="red"
        )
        raise typer.Exit(2)
    wanted = optuna or optuna_port is not None
    beside = [(optuna_server(place.studies_url, optuna_port, port), _optuna_page(opened))] if wanted else []
    page = _page(uri, opened) if opened else "#/experiments?workflowType=machine_learning"
    try:
        serve_ui(uri, place.artifacts, port=port, open_browser=browser, study_url_path=page, beside=beside)
    except UiError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(1) from None


def _page(uri: str, study: Study) -> str | None:
    """Return the path of a study's page in the MLflow UI; None if the study is not there, or MLflow does not answer."""
    from ..storage.errors import StorageError
    from ..storage.tracking import find_runs, keep_view, view_words
    from .servers import PLAIN_VIEW, reads_views, study_page

    try:
        found = find_runs(uri, study.mark)
        if found is None:
            return None
        # A tracking server has pages of its own, which leave out what they do not read.
        if urlsplit(uri).scheme in ("http", "https") or reads_views(view_words()):
            return study_page(found[0], keep_view(uri, found[0]))
        typer.echo(PLAIN_VIEW)
        return study_page(found[0])
    except StorageError as error:
        typer.echo(error, err=True)
        return None


def _optuna_page(study: Study | None) -> str:
    """Return the path of a study's page in the Optuna dashboard."""
    return "dashboard" if study is None else f"dashboard/studies/{study.optuna_id}"


def print_anywhere() -> None:
    """Print a question mark for what the output's encoding lacks, instead of failing after hours of training."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main() -> None:
    """Run the command ``frostline``, which ends the process."""
    run_program(_run_command)


def _run_command() -> None:
    from ..objectives.heap import keep_freed_memory
    from ..storage.tracking import configure_mlflow

    configure_mlflow()
    keep_freed_memory()
    print_anywhere()
    app(obj=TerminalViews())
