"""The commands that train: search, resume, verdict, demo.

The commands import heavy modules when they run, so ``--help`` is fast.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .application import end, locate, observer_of
from .options import (
    LOCAL_RESOURCES,
    RESOURCES,
    BudgetOption,
    CommonValues,
    DeviceOption,
    FurtherSureOption,
    PluginOption,
    PriorOption,
    ResourceValues,
    StudyArgument,
    SureOption,
    WorkspaceOption,
    common_options,
    listing_options,
    resource_options,
)
from .typed_options import with_study_file

if TYPE_CHECKING:
    from ..study import Request


@common_options
@resource_options(*RESOURCES)
@listing_options
def search(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            help="Folder or archive with one folder per class, CSV or Parquet file of paths and labels, saved dataset "
            "of Hugging Face, torchvision:NAME, sklearn:digits, or a study file."
        ),
    ],
    other_data: Annotated[
        str | None, typer.Option("--data", help="Dataset to use instead of the study file's.", show_default=False)
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            "-b",
            help="torchvision model (see `frostline backbones`), timm:NAME or my_module:factory.",
        ),
    ] = "mobilenet_v3_small",
    weights: Annotated[
        str, typer.Option("--weights", help="torchvision weights' name, a file (safetensors or torch), or none.")
    ] = "DEFAULT",
    trials: Annotated[
        int | None,
        typer.Option("--trials", "-n", help="Total number of trials.", show_default="30; no limit with --budget"),
    ] = None,
    budget: BudgetOption = None,
    stop_when_sure: SureOption = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Image side in pixels.", show_default="the weights' own")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the study.", show_default="data and backbone, or the study file's name"),
    ] = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option("--strategy", "-s", help="Strategy that competes; repeatable.", show_default=False),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space", help="Search space file; `frostline space > space.toml` writes one.", show_default=False
        ),
    ] = None,
    plugins: PluginOption = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="Metric: accuracy, balanced_accuracy, macro_f1, auroc, or your own as module:function.",
            show_default="balanced_accuracy if the largest class is over 3x the smallest, else accuracy",
        ),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option("--sampler", help="Sampler of Optuna, or your own, as module:object.", show_default="TPE"),
    ] = "",
    head: Annotated[
        str,
        typer.Option(
            "--head",
            help="Function that makes the head, as module:function, in place of the heads of the space.",
            show_default="the heads of the space",
        ),
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the splits, heads, data order and sampling.")] = 0,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            help="For few images: train each trial on so many folds, so that every image outside the test split "
            "validates once.",
            show_default="one validation split",
        ),
    ] = None,
    finals_seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            help="Most trainings (seeds) of each finalist.",
            show_default="8, while the finals cost no more than the search",
        ),
    ] = None,
    candidates: Annotated[
        int,
        typer.Option(
            "--candidates",
            help="Configurations that each finalist is chosen from: the best ones, the default last.",
        ),
    ] = 3,
    racing: Annotated[
        bool,
        typer.Option("--race/--no-race", help="Seeds go where the decision needs them; or every finalist gets all."),
    ] = True,
    indifference: Annotated[
        float, typer.Option("--indifference", help="Difference of the score that does not matter, in points.")
    ] = 1.0,
    population: Annotated[
        int,
        typer.Option(
            "--population",
            help="Head-only trials trained together; 1 trains one at a time.",
            show_default="up to 8 on a GPU, 1 on a CPU",
        ),
    ] = 0,
    precision: Annotated[
        str,
        typer.Option(
            "--precision", help="float32, bfloat16, or auto: the faster one, measured for features and for training."
        ),
    ] = "auto",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show settings, space, and what each strategy would take; train nothing."),
    ] = False,
    audit: Annotated[
        bool,
        typer.Option("--audit/--no-audit", help="Look for copies and label errors in the data before the first trial."),
    ] = True,
    prior: PriorOption = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            "--tracking-uri", help="MLflow URI, such as http://mlflow:5000.", show_default="the workspace's own"
        ),
    ] = None,
    *,
    listing: dict[str, Any],
    resources: ResourceValues,
    common: CommonValues,
) -> None:
    """Run a study to its verdict; the same command resumes it."""
    from ...objectives.data import ListingOptions
    from ..execution import run_search
    from ..study import Request

    request = Request(
        data=other_data or data,
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        trials=trials,
        budget=budget,
        stop_when_sure=stop_when_sure,
        name=name,
        strategies=tuple(strategies or ()),
        space=space,
        metric=metric,
        sampler=sampler,
        head=head,
        seed=seed,
        folds=folds,
        finals_seeds=finals_seeds,
        candidates=candidates,
        racing=racing,
        indifference=indifference,
        population=population,
        precision=precision,
        tracking_uri=tracking_uri,
        plugins=tuple(plugins or ()),
        listing=ListingOptions(**listing),
        audit=audit,
        prior=prior,
        **resources,
    )
    request = with_study_file(ctx, data, request)
    if dry_run:
        _show_dry_run(ctx, request, common)
        return
    end(ctx, run_search(request, common.locate(), observer_of(ctx, common.as_json)), common.as_json)


def _show_dry_run(ctx: typer.Context, request: Request, common: CommonValues) -> None:
    from ..study import dry_run
    from .plan_json import describe_plan

    plan = dry_run(request, common.locate())
    if common.as_json:
        typer.echo(json.dumps(describe_plan(plan), indent=2))
    else:
        ctx.obj.plan(plan)


@common_options
@resource_options(*RESOURCES)
def resume(
    ctx: typer.Context,
    study: StudyArgument,
    trials: Annotated[
        int | None,
        typer.Option("--trials", "-n", help="Raise the number of trials to this.", show_default=False),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Raise the budget to this (30m), or by this (+10m).", show_default=False),
    ] = None,
    stop_when_sure: FurtherSureOption = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            help="Let an undecided race go on, up to so many trainings (seeds) of each finalist.",
            show_default=False,
        ),
    ] = None,
    fork: Annotated[
        str | None,
        typer.Option(
            "--fork",
            help="Start a study of this name with the same settings, for changed data or code.",
            show_default=False,
        ),
    ] = None,
    *,
    resources: ResourceValues,
    common: CommonValues,
) -> None:
    """Resume a study from its finished trials and checkpoints."""
    from ...storage.errors import StudyBusyError
    from ..execution import request_run
    from ..execution import resume as go_on
    from ..slots import Resources, check_resources
    from ..study import Study

    place = common.locate()
    wanted = Resources(**resources)
    check_resources(wanted, place)
    try:
        observer = observer_of(ctx, common.as_json)
        more: dict[str, Any] = {"trials": trials, "budget": budget, "stop_when_sure": stop_when_sure, "seeds": seeds}
        ended = go_on(study, place, observer, **more, fork=fork, resources=wanted)
    except StudyBusyError:
        if fork is not None or not request_run(Study.load(study, place)):
            raise
        typer.echo(f"The workers of {study} continue. Watch them with: frostline status {study} --watch{place.option}")
    else:
        end(ctx, ended, common.as_json)


@common_options
@resource_options(*LOCAL_RESOURCES)
def verdict(
    ctx: typer.Context,
    study: StudyArgument,
    *,
    resources: ResourceValues,
    common: CommonValues,
) -> None:
    """Run the missing finals and print the verdict."""
    from ..study import Study

    place, observer = common.locate(), observer_of(ctx, common.as_json)
    read = Study.load(study, place)
    if read.complete():
        # Nothing is left to train: a reader does without torch.
        end(ctx, read, common.as_json)
        return
    from ..execution import rerun_finals
    from ..slots import Resources

    read.close()
    end(ctx, rerun_finals(study, place, observer, resources=Resources(**resources)), common.as_json)


def demo(ctx: typer.Context, device: DeviceOption = "auto", workspace: WorkspaceOption = None) -> None:
    """Run the demo: transfer a network from the digits 0-4 to 5-9."""
    from ..execution import run_search
    from ..slots import Resources, check_resources
    from .demo import demo_request

    place, observer = locate(workspace), ctx.obj.observer()
    check_resources(Resources(device=device), place)
    ctx.obj.ended(run_search(demo_request(place, observer, device=device), place, observer))
