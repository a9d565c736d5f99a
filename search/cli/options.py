"""Options that several commands have: their names, their help, and the resources as one group."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="Folder for all that studies leave; or $FROSTLINE_WORKSPACE.",
        show_default="./frostline-workspace",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
CacheOption = Annotated[
    str,
    typer.Option(
        "--cache-budget", help="Size of the feature cache, in memory and again on disk: 4GB, 200MB, 0 (none) or auto."
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Database that machines share, such as postgresql+psycopg://...; or $FROSTLINE_STORAGE.",
        show_default="in the workspace",
    ),
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        help="Folder or URL (s3://..., any of fsspec's) where machines share checkpoints; or $FROSTLINE_ARTIFACTS.",
        show_default="as in the study, or in the workspace",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", help="Processes that train side by side.", show_default="one a GPU, or one"),
]
SlotsOption = Annotated[int, typer.Option("--slots-per-gpu", help="Processes that share a GPU.")]
EngineOption = Annotated[
    str, typer.Option("--engine", help="Where workers run: local (this machine), or ray (a Ray cluster).")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", help="Address of the Ray cluster, as in HOST:6379.", show_default="the one on this machine"
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option("--retries", min=0, help="How often a training that an unexpected error ended is begun again."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
PluginOption = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="Module of yours that registers strategies; repeat it for more.", show_default=False),
]
StudyArgument = Annotated[str, typer.Argument(help="Name of the study; `frostline status` lists them.")]


class ResourceValues(TypedDict, total=False):
    """What resource options say, by the fields of :class:`Resources`."""

    device: str
    cache_budget: str
    workers: int | None
    slots_per_gpu: int
    engine: str
    address: str | None
    retries: int


_RESOURCE_OPTIONS: dict[str, tuple[Any, Any]] = {
    "device": (DeviceOption, "auto"),
    "cache_budget": (CacheOption, "auto"),
    "workers": (WorkersOption, None),
    "slots_per_gpu": (SlotsOption, 1),
    "engine": (EngineOption, "local"),
    "address": (AddressOption, None),
    "retries": (RetriesOption, 1),
}
RESOURCES = tuple(_RESOURCE_OPTIONS)
# Without a cluster.
LOCAL_RESOURCES = tuple(name for name in RESOURCES if name not in ("engine", "address"))


def resource_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these resource options, in the place of its parameter ``resources``, which gets their values.

    Typer reads the options off the command's signature.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            resources = {name: given.pop(name) for name in names}
            command(**given, resources=resources)

        signature = inspect.signature(command, eval_str=True)
        run.__dict__["__signature__"] = signature.replace(parameters=_expanded(signature, names))
        return run

    return decorate


def _expanded(signature: inspect.Signature, names: tuple[str, ...]) -> list[Parameter]:
    """The parameters of a command, with an option each in the place of ``resources``."""
    parameters: list[Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "resources":
            options = {name: _RESOURCE_OPTIONS[name] for name in names}
            parameters += [
                Parameter(name, Parameter.KEYWORD_ONLY, annotation=option, default=default)
                for name, (option, default) in options.items()
            ]
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
    return parameters
