"""Options of several commands, with their help; the resource options as one group."""

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
        help="Folder for all files of studies; or $FROSTLINE_WORKSPACE.",
        show_default="./frostline-workspace",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="Device: auto, cpu, cuda, cuda:N or mps.")]
CacheOption = Annotated[
    str,
    typer.Option(
        "--cache-budget", help="Size of the feature cache in memory, and again on disk: 4GB, 0 (off) or auto."
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Shared database, such as postgresql+psycopg://...; or $FROSTLINE_STORAGE.",
        show_default="in the workspace",
    ),
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        help="Folder or fsspec URL (s3://...) for shared checkpoints; or $FROSTLINE_ARTIFACTS.",
        show_default="the study's, or the workspace",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", help="Number of training processes.", show_default="one per GPU, or one"),
]
SlotsOption = Annotated[int, typer.Option("--slots-per-gpu", help="Training processes per GPU.")]
EngineOption = Annotated[
    str, typer.Option("--engine", help="Where workers run: local (this machine) or ray (a Ray cluster).")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", help="Address of the Ray cluster, such as HOST:6379.", show_default="the one on this machine"
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option("--retries", min=0, help="Retries after an unexpected error."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
PluginOption = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="Module that registers your own strategies; repeatable.", show_default=False),
]
StudyArgument = Annotated[str, typer.Argument(help="Name of the study; `frostline status` lists them.")]


class ResourceValues(TypedDict, total=False):
    """The values of the resource options, named as the fields of :class:`Resources`."""

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
# The options of commands that use no cluster.
LOCAL_RESOURCES = tuple(name for name in RESOURCES if name not in ("engine", "address"))


def resource_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter ``resources`` by these options; the parameter receives their values.

    Typer reads the options from the command's signature.

    Args:
        names: Names of the resource options that the command has.
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
    """Return the parameters of a command with ``resources`` replaced by one option per name."""
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
