"""The command ``frostline``: the commands of the search, the report and the MLflow UI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..search.cli import StorageOption, StudyArgument, WorkspaceOption, app, locate

if TYPE_CHECKING:
    from rich.console import Console

    from ..objectives.backbones import Backbone
    from ..search.study import DryRun, Observer, Study, StudyResults

MLFLOW_PORT = 5000


class TerminalViews:
    """Terminal output: Rich views in a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        # Names of the user's are no markup: nets:a: is no emoji, [bold] no style.
        self._console: Console = Console(highlight=False, markup=False, emoji=False)

    def observer(self) -> Observer:
        from ..search.study import LineProgress
        from .terminal import LiveProgress

        if self._console.is_terminal:
            return LiveProgress(self._console)
        return LineProgress(lambda line: print(line, flush=True))

    def results(self, results: StudyResults) -> None:
        from .terminal import print_faults, print_textbook, print_verdict, status_table

        self._console.print(status_table(results))
        if results.verdict is not None:
            print_verdict(self._console, results.verdict, results.warnings)
        print_faults(self._console, results)
        print_textbook(self._console, results)

    def studies(self, every: list[StudyResults]) -> None:
        from ..search.analysis import count_outcomes
        from .terminal import studies_table

        self._console.print(studies_table(every))
        if counted := count_outcomes(results.textbook for results in every):
            self._console.print(f"\nThe textbook's advice: {counted}")

    def ended(self, study: Study) -> None:
        from .terminal import print_faults, print_textbook, print_verdict

        results = study.results()
        if results.verdict is not None:
            print_verdict(self._console, results.verdict, results.warnings)
        print_faults(self._console, results)
        print_textbook(self._console, results)
        self._console.print()
        self._console.print(f"Report:  {_report(study)}", soft_wrap=True)
        name = f"{study.settings.name}{study.workspace.option}"
        self._console.print(f"Trials:  frostline ui {name}", soft_wrap=True)
        if seeds := results.verdict and results.verdict.remedy.seeds:
            seeds = max(seeds, study.settings.finals_seeds)
            self._console.print(f"Decide:  frostline resume {name} --seeds {seeds}", soft_wrap=True)

    def curve(self, study: Study) -> None:
        from .terminal import print_curve

        curve = study.results().curve
        if curve is not None:
            print_curve(self._console, curve)
        self._console.print()
        self._console.print(f"Report:  {_report(study)}", soft_wrap=True)

    def truncation(self, study: Study) -> None:
        from .terminal import print_truncation

        truncation = study.results().truncation
        if truncation is not None:
            print_truncation(self._console, truncation)
        self._console.print()
        self._console.print(f"Report:  {_report(study)}", soft_wrap=True)

    def report(self, study: Study) -> Path:
        return _report(study)

    def plan(self, plan: DryRun) -> None:
        from .terminal import print_plan

        print_plan(self._console, plan)

    def backbones(self) -> None:
        from ..objectives.backbones import backbone_table
        from .terminal import backbones_table

        self._console.print(backbones_table(backbone_table()))

    def units(self, backbone: Backbone) -> None:
        from .terminal import units_table

        self._console.print(units_table(backbone))
        for note in backbone.notes.sentences:
            self._console.print(note, soft_wrap=True)


def _report(study: Study, path: Path | None = None) -> Path:
    """Write the report, log it to the study's MLflow run, and return its path."""
    from ..objectives.data import find_gallery
    from ..search.study import finished_neighbors
    from ..search.tracking import log_with_study
    from ..storage.errors import StorageError, UnusableError
    from .report import write_report

    settings = study.settings
    gallery = find_gallery(study.facts.fingerprint, cache_dir=study.workspace.images, seed=settings.seed)
    place = path or study.workspace.report(settings.name)
    try:
        written = write_report(study.results(), place, gallery, finished_neighbors(study))
    except OSError as error:
        said = f"Cannot write the report {place}: {error.strerror}. Name another file: "
        raise (UnusableError if path else StorageError)(
            f"{said}frostline report {settings.name} -o FILE{study.workspace.option}"
        ) from error
    log_with_study(study, written, lambda line: typer.echo(line, err=True))
    return written


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
    from ..search.study import Study

    typer.echo(_report(Study.load(study, locate(workspace, storage)), output))


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
    from ..storage.tracking import find_runs, keep_view
    from .servers import study_page

    try:
        found = find_runs(uri, study.mark)
        return study_page(found[0], keep_view(uri, found[0])) if found else None
    except StorageError as error:
        typer.echo(error, err=True)
        return None


def _optuna_page(study: Study | None) -> str:
    """Return the path of a study's page in the Optuna dashboard."""
    return "dashboard" if study is None else f"dashboard/studies/{study.inner._study_id}"


def main() -> None:
    """Run the command ``frostline``."""
    from ..storage.tracking import configure_mlflow

    configure_mlflow()
    app(obj=TerminalViews())
