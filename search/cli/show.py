"""The command for one trial: its record, or the trial as a script of plain PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .application import locate
from .options import StorageOption, StudyArgument, WorkspaceOption

if TYPE_CHECKING:
    from ..records import FinalScores, TrialRecord

FORMATS = ("text", "python")


def show(
    study: StudyArgument,
    trial: Annotated[
        str | None,
        typer.Argument(
            help="Number of a trial, or name of a strategy for its finalist.",
            show_default="finalist of the recommended strategy",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option("--as", help="text, or python: a script of plain PyTorch that repeats the training."),
    ] = "text",
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Show a trial: scores and parameters, or a script that repeats it without Frostline."""
    from ...objectives.errors import InvalidInputError, unknown_name
    from ..study import Study, choose_trial

    if form not in FORMATS:
        raise InvalidInputError(unknown_name("form", form, FORMATS))
    opened = Study.load(study, locate(workspace, storage))
    if form == "python":
        from ..export import write_script

        typer.echo(write_script(opened, trial), nl=False)
        return
    found = choose_trial(opened, trial).trial
    finals = [final for final in opened.final_scores() if final.trial_number == found.number]
    for line in describe_trial(found, finals):
        typer.echo(line)


def describe_trial(trial: TrialRecord, finals: list[FinalScores]) -> list[str]:
    """Return a trial in lines: what it is, its scores, its parameters."""
    score = "" if trial.score is None else f", validation {trial.score:.4f}"
    seconds = "" if trial.seconds is None else f" in {trial.seconds:.1f} s"
    lines = [f"trial {trial.number}: {trial.strategy}, {trial.state}{score}{seconds}"]
    if trial.reason:
        lines.append(f"reason: {trial.reason}")
    lines += [
        f"final, seed {each.seed}: validation {each.val_score:.4f}, test {each.test_score:.4f}" for each in finals
    ]
    parameters = {name: value for name, value in trial.config.items() if name != "strategy"}
    width = max(map(len, parameters), default=0)
    return [*lines, "", *(f"{name:{width}}  {value}" for name, value in parameters.items())]
