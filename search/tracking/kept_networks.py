"""The networks of the finals in the workspace, stored with the code that loads them, until the verdict.

Of a finalist's seeds, the network with the best validation score is kept (of equals, the lowest seed): the test split
decides nothing. A folder has everything that the model needs, without Frostline::

    <workspace>/models/<study>/<final>/network/      see objectives/networks/export.py
    <workspace>/models/<study>/<final>/code/         the package that loads it, and the user's own backbone
    <workspace>/models/<study>/<final>/example.png   an image to test it with
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from ...objectives.config import TrialConfig
from ...objectives.data import ImageDataset
from ...objectives.networks import ModelCard, Network, save_network
from ...storage.errors import StorageError
from ..records import FinalScores
from ..study import Study, StudySettings, sources_digest, training_package, training_sources
from .registered_models import PACKAGE_PREFIX, best_final, finalist_of, network_folder


def keep_network(
    study: Study, final: FinalScores, card: ModelCard, network: Network, example: NDArray[np.uint8]
) -> None:
    """Store a final's network. Must precede the recording of the final, because a recorded final is not retrained.

    Args:
        study: Study whose workspace stores the network.
        final: Record of the final.
        card: Description of the network; see :func:`final_card`.
        network: Trained network.
        example: Image to test the model with, shape (H, W, 3).

    Raises:
        StorageError: The files cannot be written.
    """
    folder = network_folder(study, final)
    unfinished = folder.with_name(f"{folder.name}.partial")
    for leftover in (folder, unfinished):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        save_network(unfinished / "network", network, card)
        copy_code(unfinished / "code", study.settings.backbone)
        Image.fromarray(example).save(unfinished / "example.png")
        unfinished.replace(folder)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"The network of a final cannot be kept in {folder}: {error}") from error


def final_card(
    settings: StudySettings, dataset: ImageDataset, final: FinalScores, config: TrialConfig, network: Network
) -> ModelCard:
    """Return the description of a final's network, from which it is rebuilt."""
    return ModelCard(
        backbone=settings.backbone,
        pretrained=settings.weights != "none",
        truncate=config.truncate,
        freeze_depth=network.phase.freeze_depth,
        head=config.head,
        classes=dataset.classes,
        preprocessing=dataset.preprocessing,
        temperature=final.temperature or 1.0,
        origin={
            "study": settings.name,
            "strategy": final.strategy,
            "trial": final.trial_number,
            "seed": final.seed,
        },
    )


def drop_networks(study: Study, final: FinalScores) -> None:
    """Remove the networks of the same finalist except that of its best seed."""
    same = [each for each in study.final_scores() if finalist_of(each) == finalist_of(final)]
    for each in same:
        if each is not best_final(same):
            shutil.rmtree(network_folder(study, each), ignore_errors=True)


def copy_code(folder: Path, backbone: str) -> str:
    """Copy into a folder the package that loads networks, and beside it the module of the user's backbone.

    Returns:
        Name of the package, unique to this version: one process may serve models of several versions.
    """
    name = f"{PACKAGE_PREFIX}{sources_digest()}"
    package = folder / name
    # The stubs too: a sub-package reads from its own which module has a name.
    for source in sorted([*training_sources(), *training_package().rglob("*.pyi")]):
        copied = package / source.relative_to(training_package())
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copied)
    module, _, factory = backbone.partition(":")
    if factory and module != "timm":
        _copy_module(module, folder)
    return name


def _copy_module(name: str, folder: Path) -> None:
    """Copy a module, with its whole package if it has one, into a folder from which its name can be imported."""
    *packages, _ = parts = name.split(".")
    top, own = (Path(getattr(sys.modules[each], "__file__", None) or "") for each in (parts[0], name))
    if top.name == "__init__.py":
        shutil.copytree(top.parent, folder / parts[0], ignore=shutil.ignore_patterns("__pycache__"))
    elif own.is_file():
        folder.joinpath(*packages).mkdir(parents=True, exist_ok=True)
        shutil.copy(own, folder.joinpath(*packages))
