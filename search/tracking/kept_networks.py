"""The networks of the finals in the workspace, stored with the code that loads them.

All are kept until the verdict, for the model stock. Then the one with the best validation score of a finalist's seeds
is kept (of equals, the lowest seed), beside the stock: the test split decides nothing. A folder has everything that the
model needs, without Frostline::

    <workspace>/models/<study>/<final>/network/      see objectives/networks/export.py
    <workspace>/models/<study>/<final>/code/         the package that loads it, and the user's modules
    <workspace>/models/<study>/<final>/example.png   an image to test it with; example.npy of other than 3 channels
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from ...objectives.config import TrialConfig
from ...objectives.data import ImageDataset
from ...objectives.networks import ModelCard, Network, save_network
from ...objectives.preprocessing import RGB
from ...storage.errors import StorageError
from ..analysis import best_final
from ..records import FinalScores
from ..study import Study, StudySettings
from .registered_models import finalist_of, network_folder
from .shipped_code import copy_code


def keep_network(
    study: Study, final: FinalScores, card: ModelCard, network: Network, example: NDArray[np.uint8]
) -> None:
    """Store a final's network. Must precede the recording of the final, because a recorded final is not retrained.

    Args:
        study: Study whose workspace stores the network.
        final: Record of the final.
        card: Description of the network; see :func:`final_card`.
        network: Trained network.
        example: Image to test the model with, shape (H, W, C).

    Raises:
        StorageError: The files cannot be written.
    """
    folder = network_folder(study, final)
    unfinished = folder.with_name(f"{folder.name}.partial")
    for leftover in (folder, unfinished):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        save_network(unfinished / "network", network, card)
        copy_code(unfinished / "code", card.backbone, card.head.function)
        _write_example(unfinished, example)
        unfinished.replace(folder)
    except (OSError, SafetensorError) as error:
        again = f"frostline resume {study.settings.name}{study.workspace.option}"
        reason = f"The network of a final cannot be kept in {folder}: {str(error).rstrip('.')}"
        raise StorageError(f"{reason}. Set that right, then type: {again}") from error


def _write_example(folder: Path, example: NDArray[np.uint8]) -> None:
    channels = example.shape[2]
    if channels == RGB:
        Image.fromarray(example).save(folder / "example.png")
    else:
        # Without a row, where else the first axis could be that of the channels.
        np.save(folder / "example.npy", example[:-1] if len(example) == channels else example)


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
        scale=dataset.scale,
        temperature=final.temperature or 1.0,
        origin={
            "study": settings.name,
            "strategy": final.strategy,
            "trial": final.trial_number,
            "seed": final.seed,
        },
    )


def drop_networks(study: Study) -> None:
    """Remove the networks of the finals except that of each finalist's best seed."""
    seeds: dict[tuple[str, int], list[FinalScores]] = {}
    for final in study.final_scores():
        seeds.setdefault(finalist_of(final), []).append(final)
    for same in seeds.values():
        for each in same:
            if each is not best_final(same):
                shutil.rmtree(network_folder(study, each), ignore_errors=True)
