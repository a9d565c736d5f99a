"""The nearness of a dataset to the data of the pretraining: probes on the features of the pretrained network and of the
same network with random weights. It sees training and validation images only.
"""

from __future__ import annotations

import numpy as np
import torch

from .data import Nearness, class_separation, out_of_fold
from .errors import ObjectiveError
from .fault_finder import Examined, pooled_features
from .metrics import score
from .networks import BackbonePool
from .precision import FLOAT32


def measure_nearness(
    seen: Examined, backbones: BackbonePool, device: torch.device, precision: str = FLOAT32, *, seed: int = 0
) -> Nearness:
    """Compare probes on pretrained and on random features.

    Args:
        seen: The images with their pretrained features and the probe's predictions.
        backbones: Pool of the backbone.
        device: Device on which to compute the features.
        precision: Precision of the features, ``float32`` or ``bfloat16``.
        seed: Seed of the random weights.
    """
    if seen.features is None or seen.predictions is None:
        return Nearness(reason=next(iter(seen.not_sought.values()), "no probe was fitted"))
    labels, searched = seen.labels, seen.searched
    try:
        random = pooled_features(seen.images.whole, backbones, device, precision, pretrained=False, seed=seed)
        random = random[searched]
    # The user's own network may have no random weights.
    except ObjectiveError as error:
        return Nearness(reason=str(error))
    if not np.isfinite(random).all():
        return Nearness(reason="the features of random weights are not finite")
    return Nearness(
        pretrained=score("balanced_accuracy", seen.predictions, labels),
        random=score("balanced_accuracy", out_of_fold(random, labels), labels),
        separation=class_separation(seen.features[searched], labels),
    )
