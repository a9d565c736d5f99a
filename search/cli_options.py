"""Options that several commands have: what they are called, and what their help says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
