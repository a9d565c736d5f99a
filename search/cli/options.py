"""Options of several commands, with their help; some as groups that a command receives in one parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from .application import locate

if TYPE_CHECKING:
    from ...storage.workspace import Workspace

_Command = Callable[..., None]
_MANIFEST = "Options of CSV and Parquet files"

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="Folder for all files of studies; or $FROSTLINE_WORKSPACE.",
        show_default="./frostline-workspace",
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="Training time of all trials and workers together, such as 20m or 1h30m; finals are extra. With "
        "--trials, whichever ends first.",
        show_default="no limit",
    ),
]
SureOption = Annotated[
    float | None,
    typer.Option(
        "--stop-when-sure",
        help="End the search early, once it is so sure (0.95) that no other strategy will win by more than "
        "--indifference.",
        show_default="run all trials",
    ),
]
FurtherSureOption = Annotated[
    float | None,
    typer.Option(
        "--stop-when-sure", help="End the search early only when it is so sure; 1 runs all trials.", show_default=False
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
PriorOption = Annotated[
    str | None,
    typer.Option(
        "--prior",
        help="Start from the best configurations of similar studies of other data: workspace, or a file of `frostline "
        "portfolio`.",
        show_default="none",
    ),
]
StudyArgument = Annotated[str, typer.Argument(help="Name of the study; `frostline status` lists them.")]


def _column(option: str, holds: str, found: str) -> Any:
    help_ = f"Column {holds}"
    return Annotated[str, typer.Option(option, help=help_, show_default=found, rich_help_panel=_MANIFEST)]


_LISTING_OPTIONS: dict[str, tuple[Any, Any]] = {
    "path_column": (_column("--path-column", "of the images' paths.", "path, file, image, ..."), ""),
    "label_column": (_column("--label-column", "of the classes.", "label, class, category, ..."), ""),
    "split_column": (_column("--split-column", "of the splits; none splits anew.", "split, subset, ..., if there"), ""),
    "group": (
        _column(
            "--group",
            "of groups (patient, video), of which none is in two splits; none for no groups.",
            "group, if there",
        ),
        "",
    ),
    "image_root": (
        Annotated[
            str,
            typer.Option(
                "--image-root",
                help="Folder from which the paths start.",
                show_default="the file's own",
                rich_help_panel=_MANIFEST,
            ),
        ],
        "",
    ),
    "allow_outside": (
        Annotated[
            bool,
            typer.Option(
                "--allow-outside",
                help="Take images outside that folder (absolute paths, ../) too.",
                rich_help_panel=_MANIFEST,
            ),
        ],
        False,
    ),
    "group_regex": (
        Annotated[
            str,
            typer.Option(
                "--group-regex", help="Regular expression that finds the group in an image's path.", show_default=False
            ),
        ],
        "",
    ),
    "nested_classes": (
        Annotated[
            bool, typer.Option("--nested-classes", help="Each folder that holds images is a class, at any depth.")
        ],
        False,
    ),
    "channels": (
        Annotated[
            int,
            typer.Option(
                "--channels",
                help="Channels of each image, where they are not color: multispectral TIFF, .npy, RGB with alpha. "
                "Adapts the network's first layer.",
                show_default="3, and gray images are made color",
            ),
        ],
        3,
    ),
}
LISTING = tuple(_LISTING_OPTIONS)
# Those of a table without labels.
_PATH_OPTIONS = {name: _LISTING_OPTIONS[name] for name in ("path_column", "image_root", "allow_outside")}


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


@dataclass(frozen=True)
class CommonValues:
    """The values of the options of all commands that bring a study to its results."""

    storage: str | None
    artifacts: str | None
    workspace: Path | None
    as_json: bool

    def locate(self) -> Workspace:
        """Return the workspace that the options name."""
        return locate(self.workspace, self.storage, self.artifacts)


_COMMON_OPTIONS: dict[str, tuple[Any, Any]] = {
    "storage": (StorageOption, None),
    "artifacts": (ArtifactsOption, None),
    "workspace": (WorkspaceOption, None),
    "as_json": (JsonOption, False),
}


def resource_options(*names: str) -> Callable[[_Command], _Command]:
    """Replace a command's parameter ``resources`` by these options; the parameter receives their values.

    Args:
        names: Names of the resource options that the command has.
    """
    return _group("resources", {name: _RESOURCE_OPTIONS[name] for name in names}, dict)


def listing_options(command: _Command) -> _Command:
    """Replace a command's parameter ``listing`` by the fields of :class:`ListingOptions`; it receives their values."""
    return _group("listing", _LISTING_OPTIONS, dict)(command)


def path_options(command: _Command) -> _Command:
    """Replace a command's parameter ``paths`` by the options of a table without labels; it receives their values."""
    return _group("paths", _PATH_OPTIONS, dict)(command)


def common_options(command: _Command) -> _Command:
    """Replace a command's parameter ``common`` by the options of :class:`CommonValues`, which it receives."""
    return _group("common", _COMMON_OPTIONS, CommonValues)(command)


def _group(
    parameter: str, options: Mapping[str, tuple[Any, Any]], values: Callable[..., Any]
) -> Callable[[_Command], _Command]:
    """Replace a command's parameter by options, from whose values it is made.

    Typer reads the options from the command's signature.

    Args:
        parameter: Name of the parameter.
        options: Type and default of each option by name.
        values: Makes the parameter from the options' values.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(**given: Any) -> None:
            group = values(**{name: given.pop(name) for name in options})
            command(**given, **{parameter: group})

        signature = inspect.signature(command, eval_str=True)
        run.__dict__["__signature__"] = signature.replace(parameters=_expanded(signature, parameter, options))
        return run

    return decorate


def _expanded(signature: inspect.Signature, group: str, options: Mapping[str, tuple[Any, Any]]) -> list[Parameter]:
    """Return the parameters of a command with one of them replaced by options."""
    parameters: list[Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == group:
            parameters += [
                Parameter(name, Parameter.KEYWORD_ONLY, annotation=option, default=default)
                for name, (option, default) in options.items()
            ]
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
    return parameters
