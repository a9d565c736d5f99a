"""The nearness of a dataset to the data of the pretraining: probes on the features of the pretrained network and of the
same network with random weights. It sees training and validation images only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from .data import ImageDataset, Nearness, class_separation, out_of_fold
from .errors import ObjectiveError
from .fault_finder import Examined, pooled_features
from .metrics import score
from .networks import BackbonePool
from .precision import FLOAT32

# The random network's half is for readers of the verdict: it is computed when the trials have ended.
UNFINISHED = "the search has not ended"


def pretrained_nearness(seen: Examined) -> Nearness:
    """Return the half that the pretrained features tell; see :func:`finish_nearness`.

    Args:
        seen: The images with their pretrained features and the probe's predictions.
    """
    if seen.features is None or seen.predictions is None:
        return Nearness(reason=next(iter(seen.not_sought.values()), "no probe was fitted"))
    return Nearness(
        pretrained=score("balanced_accuracy", seen.predictions, seen.labels),
        separation=class_separation(seen.features[seen.searched], seen.labels),
        reason=UNFINISHED,
    )


def finish_nearness(
    begun: Nearness,
    dataset: ImageDataset,
    backbones: BackbonePool,
    device: torch.device,
    precision: str = FLOAT32,
    *,
    seed: int = 0,
) -> Nearness:
    """Return the nearness with its other half, by a probe on the features of random weights.

    Args:
        begun: What :func:`pretrained_nearness` returned; returned as it is if it is not unfinished.
        dataset: Dataset.
        backbones: Pool of the backbone.
        device: Device on which to compute the features.
        precision: Precision of the features, ``float32`` or ``bfloat16``.
        seed: Seed of the random weights.
    """
    if begun.reason != UNFINISHED:
        return begun
    splits = dataset.search_splits()
    try:
        found = pooled_features(splits, backbones, device, precision=precision, pretrained=False, seed=seed)
    # The user's own network may have no random weights.
    except ObjectiveError as error:
        return Nearness(reason=str(error))
    # The order of :func:`pretrained_nearness`: that of the listing.
    order = np.argsort(np.concatenate([split.indices for split in splits]))
    random = np.concatenate(found)[order]
    labels = np.concatenate([split.labels for split in splits])[order]
    if not np.isfinite(random).all():
        return Nearness(reason="the features of random weights are not finite")
    return replace(begun, random=score("balanced_accuracy", out_of_fold(random, labels), labels), reason="")
