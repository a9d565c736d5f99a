"""The commands for a finished study's networks: export, predict.

The commands import heavy modules when they run, so ``--help`` is fast. With an exported folder, `predict` needs
neither the studies' database nor MLflow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .application import locate
from .options import DeviceOption, StorageOption, StudyArgument, WorkspaceOption, path_options
from .predictions import FORMATS, Progress, find_images

if TYPE_CHECKING:
    from ...objectives.networks import TrainedModel
    from ...storage.workspace import Workspace

StrategyOption = Annotated[
    str | None,
    typer.Option("--strategy", "-s", help="Strategy whose network to take.", show_default="the recommended one"),
]


def export(
    study: StudyArgument,
    to: Annotated[Path, typer.Option("--to", help="Folder to write, missing or empty.", show_default=False)],
    strategy: StrategyOption = None,
    pixels: Annotated[
        bool,
        typer.Option("--pixels", help="model.pt2 and model.onnx take 8-bit pixels and normalize them."),
    ] = False,
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a strategy's network as a folder: weights, loader, ONNX, torch.export, model card."""
    from ..export import export_study
    from ..study import Study

    opened = Study.load(study, locate(workspace, storage))
    exported = export_study(opened, strategy, to, pixels=pixels, note=lambda line: typer.echo(line, err=True))
    typer.echo(f"{to}:  {'  '.join(exported.files)}")
    typer.echo(f"Predict:  frostline predict {to} IMAGES")
    if exported.incomplete:
        raise typer.Exit(1)


@path_options
def predict(
    source: Annotated[
        str, typer.Argument(metavar="DIR|STUDY", help="Folder that `frostline export` wrote, or name of a study.")
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES", help="Image files, folders, - for a list of files on standard input, or a table."
        ),
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of classes to show for each image.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the predictions as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the predictions as CSV.")] = False,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Number of images that the network takes at once.")
    ] = 64,
    strategy: StrategyOption = None,
    device: DeviceOption = "auto",
    *,
    paths: dict[str, Any],
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Classify images with a study's network; images that cannot be used are reported and skipped."""
    from ...objectives.data import ListingOptions, UndecodableImageError, quiet_decoding
    from ...objectives.devices import is_out_of_memory
    from ...objectives.errors import InvalidInputError

    if as_json and as_csv:
        raise InvalidInputError("--json and --csv cannot be combined: leave one out.")
    model = _load(source, strategy, device, lambda: locate(workspace, storage))
    # Which files are images depends on the network's channels.
    listed = ListingOptions(channels=model.card.preprocessing.channels)
    found = find_images(images, sys.stdin, paths, listed.suffixes)
    progress = Progress(len(found), sys.stderr)
    form = FORMATS["json" if as_json else "csv" if as_csv else "text"]
    writer = form(model.card.classes, top, found[0].cells, sys.stdout)
    try:
        with quiet_decoding():
            answers = model.predict_each([image.content for image in found], batch_size)
            for image, answer in zip(found, answers, strict=True):
                if isinstance(answer, UndecodableImageError):
                    progress.skipped(image.name, str(answer))
                    writer.skip(image, str(answer))
                else:
                    progress.predicted()
                    writer.write(image, answer)
    # Each allocator has an error class of its own; what is not about memory is raised again.
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        smaller = f"Try --batch-size {max(1, batch_size // 4)}, or --device cpu."
        raise InvalidInputError(f"{batch_size} images at once need more memory than there is. {smaller}") from error
    writer.end()
    if progress.end():
        raise typer.Exit(1)


def _load(source: str, strategy: str | None, device: str, place: Callable[[], Workspace]) -> TrainedModel:
    """Load the network of an exported folder, or of a study.

    Raises:
        InvalidInputError: There is neither, or a strategy was named for a folder, which has one network.
    """
    from ...objectives.errors import InvalidInputError
    from ...objectives.networks import holds_network, load_network
    from ...objectives.user_code import folder_first

    folder = Path(source)
    if holds_network(folder):
        if strategy is not None:
            raise InvalidInputError(f"{source} holds one network: leave out --strategy, or name a study instead.")
        with folder_first(folder / "code"):
            return load_network(folder, device)
    from ..export import load_kept, open_kept
    from ..study import Study, study_names

    workspace = place()
    if folder.is_dir() and source not in study_names(workspace):
        raise InvalidInputError(
            f"{source} is a folder without a network. Name a study, or a folder that this wrote: "
            "frostline export STUDY --to DIR"
        )
    study = Study.load(source, workspace)
    try:
        with open_kept(study, strategy) as kept:
            return load_kept(kept, device)
    finally:
        study.close()
