"""The finals' networks in the workspace: each is kept with the code that loads it, until its study's verdict.

Of a finalist's seeds the one with the best validation score is kept, of equals the lowest: the test split decides
nothing. A folder holds all that is needed, Frostline aside::

    <workspace>/models/<study>/<final>/network/      see objectives/networks/export.py
    <workspace>/models/<study>/<final>/code/         the package that loads it, and the user's own backbone
    <workspace>/models/<study>/<final>/example.png   an image to try it on
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
from ...objectives.data.dataset import ImageDataset
from ...objectives.networks.export import ModelCard, save_network
from ...objectives.networks.network import Network
from ...storage.errors import StorageError
from ..records import FinalScores
from ..study.fingerprints import sources_digest, training_package, training_sources
from ..study.settings import StudySettings
from ..study.study import Study
from .registered_models import PACKAGE_PREFIX, best_final, finalist_of, network_folder


def keep_network(
    study: Study, final: FinalScores, card: ModelCard, network: Network, example: NDArray[np.uint8]
) -> None:
    """Keep a final's network. Call it before the final is recorded: a recorded final is not trained again.

    Args:
        study: The study, whose workspace keeps the network.
        final: The final.
        card: Description of the network; see :func:`final_card`.
        network: The trained network.
        example: An image to try the model on (H, W, 3).

    Raises:
        StorageError: It cannot be written.
    """
    folder = network_folder(study, final)
    unfinished = folder.with_name(f"{folder.name}.partial")
    for leftover in (folder, unfinished):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        save_network(unfinished / "network", network, card)
        _copy_code(unfinished / "code" / _package(), study.settings.backbone)
        Image.fromarray(example).save(unfinished / "example.png")
        unfinished.replace(folder)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"The network of a final cannot be kept in {folder}: {error}") from error


def final_card(
    settings: StudySettings, dataset: ImageDataset, final: FinalScores, config: TrialConfig, network: Network
) -> ModelCard:
    """Description of a final's network, from which it is built again."""
    return ModelCard(
        backbone=settings.backbone,
        pretrained=settings.weights != "none",
        truncate=config.truncate,
        freeze_depth=network.phase.freeze_depth,
        head=config.head,
        classes=dataset.classes,
        preprocessing=dataset.preprocessing,
        origin={
            "study": settings.name,
            "strategy": final.strategy,
            "trial": final.trial_number,
            "seed": final.seed,
        },
    )


def drop_networks(study: Study, final: FinalScores) -> None:
    """Remove those of the same finalist's seeds that are not its best."""
    same = [each for each in study.final_scores() if finalist_of(each) == finalist_of(final)]
    for each in same:
        if each is not best_final(same):
            shutil.rmtree(network_folder(study, each), ignore_errors=True)


def _package() -> str:
    """A name that no other version of the package has: one process may serve models of several."""
    return f"{PACKAGE_PREFIX}{sources_digest()}"


def _copy_code(package: Path, backbone: str) -> None:
    """The package that loads networks, and beside it the module of a backbone of the user's."""
    for source in training_sources():
        copied = package / source.relative_to(training_package())
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copied)
    module, _, factory = backbone.partition(":")
    if factory and module != "timm":
        _copy_module(module, package.parent)


def _copy_module(name: str, folder: Path) -> None:
    """A module into a folder from which it can be imported by its name; its whole package, if it is in one."""
    *packages, _ = parts = name.split(".")
    top, own = (Path(getattr(sys.modules[each], "__file__", None) or "") for each in (parts[0], name))
    if top.name == "__init__.py":
        shutil.copytree(top.parent, folder / parts[0], ignore=shutil.ignore_patterns("__pycache__"))
    elif own.is_file():
        folder.joinpath(*packages).mkdir(parents=True, exist_ok=True)
        shutil.copy(own, folder.joinpath(*packages))
