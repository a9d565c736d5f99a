"""The command line of the search: thin commands over the library; what people see comes from the views.

Heavy imports wait inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from typer.core import TyperGroup

from .cli_options import (
    AddressOption,
    ArtifactsOption,
    CacheOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    PluginOption,
    RetriesOption,
    SlotsOption,
    StorageOption,
    StudyArgument,
    WorkersOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from ..objectives.backbones import Backbone
    from ..storage.workspace import Workspace
    from .progress import Observer
    from .results import StudyResults
    from .study import Study

INTERRUPTED = 130


class Views(Protocol):
    """How the command line shows things; the layer above decides."""

    def observer(self) -> Observer:
        """Follows a running study on the terminal."""
        ...

    def results(self, results: StudyResults) -> None:
        """Where a study stands."""
        ...

    def studies(self, every: list[StudyResults]) -> None:
        """A list of studies."""
        ...

    def ended(self, study: Study) -> None:
        """A study reached its verdict."""
        ...

    def curve(self, study: Study) -> None:
        """A study's data-size curve was run."""
        ...

    def backbones(self) -> None:
        """What can be searched."""
        ...

    def units(self, backbone: Backbone) -> None:
        """One backbone's units."""
        ...


class _Group(TyperGroup):
    """Turns errors that are meant for users into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            typer.echo(f"\n{interrupt}" if str(interrupt) else "\nStopped.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            for line in str(error).splitlines():
                typer.secho(line, err=True, fg=typer.colors.RED)
            raise typer.Exit(code) from None


def _exit_code(error: Exception) -> int | None:
    """2 for wrong input, 1 for what failed on the way, None for our own faults, which keep their traceback."""
    from ..objectives.errors import InvalidInputError, ObjectiveError
    from ..storage.errors import StorageError

    if isinstance(error, InvalidInputError):
        return 2
    return 1 if isinstance(error, ObjectiveError | StorageError) else None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find, for an image dataset, which way of using a pretrained network wins.",
)


@app.command()
def search(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            help="Folder of class folders, sklearn:digits, torchvision:NAME (e.g. torchvision:CIFAR10) or a study file."
        ),
    ],
    other_data: Annotated[
        str | None, typer.Option("--data", help="Data in place of the study file's.", show_default=False)
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            "-b",
            help="torchvision model (`frostline backbones` lists them), timm:NAME, or my_module:factory.",
        ),
    ] = "mobilenet_v3_small",
    weights: Annotated[
        str, typer.Option("--weights", help="Published weights' name, a local .safetensors, .pt or .pth file, or none.")
    ] = "DEFAULT",
    trials: Annotated[int, typer.Option("--trials", "-n", help="Trials in all.")] = 30,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Side in pixels.", show_default="the weights' own")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Name of the study.", show_default="from data and backbone, or the study file's name"
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", "-s", help="Let only this one compete; repeat it for more.", show_default=False),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="Space file; `frostline space > space.toml` writes one.", show_default=False),
    ] = None,
    plugin: PluginOption = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="accuracy, balanced_accuracy, macro_f1 or auroc.",
            show_default="balanced_accuracy if the largest class is over 3x the smallest, else accuracy",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of splits, heads, data order and sampling.")] = 0,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each finalist.")] = 3,
    population: Annotated[
        int,
        typer.Option(
            "--population",
            help="Head-only trials that train together; 1: one at a time.",
            show_default="up to 8 on a GPU, 1 on a CPU",
        ),
    ] = 0,
    device: DeviceOption = "auto",
    cache_budget: CacheOption = "auto",
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            "--tracking-uri", help="URI of MLflow, such as http://mlflow:5000.", show_default="the workspace's own"
        ),
    ] = None,
    workers: WorkersOption = None,
    slots_per_gpu: SlotsOption = 1,
    engine: EngineOption = "local",
    address: AddressOption = None,
    retries: RetriesOption = 1,
    storage: StorageOption = None,
    artifacts: ArtifactsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a dataset and end with the verdict. The same command again goes on where it stopped; after frostline
    stop, resume does.
    """
    from .options import with_study_file
    from .request import Request
    from .run import run_search

    request = Request(
        data=other_data or data,
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        trials=trials,
        name=name,
        strategies=tuple(strategy or ()),
        space=space,
        metric=metric,
        seed=seed,
        finals_seeds=seeds,
        population=population,
        device=device,
        cache_budget=cache_budget,
        tracking_uri=tracking_uri,
        workers=workers,
        slots_per_gpu=slots_per_gpu,
        engine=engine,
        address=address,
        retries=retries,
        plugins=tuple(plugin or ()),
    )
    request = with_study_file(ctx, data, request)
    _end(ctx, run_search(request, locate(workspace, storage, artifacts), observer_of(ctx, as_json)), as_json)


@app.command()
def resume(
    ctx: typer.Context,
    study: StudyArgument,
    trials: Annotated[int | None, typer.Option("--trials", "-n", help="A larger budget.", show_default=False)] = None,
    fork: Annotated[
        str | None,
        typer.Option(
            "--fork",
            help="Begin a study of this name with the same settings: for changed data or code.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    cache_budget: CacheOption = "auto",
    workers: WorkersOption = None,
    slots_per_gpu: SlotsOption = 1,
    engine: EngineOption = "local",
    address: AddressOption = None,
    retries: RetriesOption = 1,
    storage: StorageOption = None,
    artifacts: ArtifactsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on where a study stopped: finished trials stay, one that was cut off goes on from its last epoch kept."""
    from ..storage.errors import StudyBusyError
    from .run import resume as go_on
    from .run import wake
    from .slots import Resources
    from .study import Study

    place = locate(workspace, storage, artifacts)
    resources = Resources(device, cache_budget, workers, slots_per_gpu, engine, address, retries)
    resources.check(place)
    try:
        ended = go_on(study, place, observer_of(ctx, as_json), trials=trials, fork=fork, resources=resources)
    except StudyBusyError:
        if fork is not None or not wake(Study.load(study, place)):
            raise
        typer.echo(f"The workers of {study} go on. Watch them with: frostline status {study} --watch{place.option}")
    else:
        _end(ctx, ended, as_json)


@app.command()
def verdict(
    ctx: typer.Context,
    study: StudyArgument,
    device: DeviceOption = "auto",
    cache_budget: CacheOption = "auto",
    workers: WorkersOption = None,
    slots_per_gpu: SlotsOption = 1,
    retries: RetriesOption = 1,
    storage: StorageOption = None,
    artifacts: ArtifactsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the finals that are missing, and print the verdict."""
    from .run import rerun_finals
    from .slots import Resources

    resources = Resources(device, cache_budget, workers, slots_per_gpu, retries=retries)
    _end(
        ctx,
        rerun_finals(study, locate(workspace, storage, artifacts), observer_of(ctx, as_json), resources=resources),
        as_json,
    )


@app.command()
def demo(ctx: typer.Context, device: DeviceOption = "auto", workspace: WorkspaceOption = None) -> None:
    """The two-minute tour: a network that knows the digits 0-4 is taught 5-9; which strategy does it best?"""
    from .demo import demo_request
    from .run import run_search

    place, observer = locate(workspace), ctx.obj.observer()
    ctx.obj.ended(run_search(demo_request(place, observer, device=device), place, observer))


def locate(workspace: Path | None, storage: str | None = None, artifacts: str | None = None) -> Workspace:
    """The workspace of an option; see :meth:`Workspace.locate`."""
    from ..storage.workspace import Workspace

    return Workspace.locate(workspace, storage, artifacts)


def observer_of(ctx: typer.Context, as_json: bool) -> Observer:
    """Where JSON is wanted, progress goes to standard error."""
    if not as_json:
        return ctx.obj.observer()
    from .progress import LineProgress

    return LineProgress(lambda line: print(line, file=sys.stderr, flush=True))


def _end(ctx: typer.Context, study: Study, as_json: bool) -> None:
    if as_json:
        typer.echo(f"Report:  {ctx.obj.report(study)}", err=True)
        typer.echo(json.dumps(describe_results(study.results()), indent=2))
    else:
        ctx.obj.ended(study)


def describe_results(results: StudyResults) -> dict[str, Any]:
    """For scripts."""
    from .results import describe

    return describe(results)
