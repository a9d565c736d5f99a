"""The search for faults of a dataset before training: copies, leaks between splits, likely label errors.

It compares test images with the others, and ends in a list: no network and no configuration is chosen by it. Its cost
is one pass of the pretrained network over all images, the products of :func:`near_pairs` and five fits of a probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .data import (
    AuditedImages,
    Copies,
    DataFaults,
    FoundImage,
    ImageDataset,
    ImageSplit,
    LabelError,
    StraddlingGroup,
    doubtful_labels,
    exact_groups,
    joined,
    near_pairs,
    never_right,
    out_of_fold,
)
from .devices import free_memory
from .features import FeatureStore, evaluation_source
from .networks import BackbonePool, FixedPooling, FrozenPrefix
from .precision import FLOAT32

# Number of images above which only exact copies are looked for: all pairs take a minute or two at that size.
MAX_IMAGES = 50_000
# Largest product of images, features and classes for which the probe is fitted: a minute or two of one core.
MAX_PROBE = 5_000_000_000
_BATCH = 256


@dataclass(frozen=True)
class Examined:
    """All images of a dataset, with what the pretrained network says of them.

    Attributes:
        images: All images.
        exact: Rows of images whose files have the same bytes, in groups.
        features: Pooled pretrained features of all images, float32 (N, D); None if they were not computed.
        searched: Rows of the training and validation images (S,).
        labels: Labels of these (S,).
        predictions: Out-of-fold class probabilities of these (S, K) by a probe; None if none was fitted.
        not_sought: What was not looked for, with the reason.
    """

    images: AuditedImages
    exact: list[list[int]]
    features: NDArray[np.float32] | None
    searched: NDArray[np.int64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.float64] | None
    not_sought: dict[str, str]


def examine(
    dataset: ImageDataset,
    backbones: BackbonePool,
    device: torch.device,
    store: FeatureStore | None = None,
    precision: str = FLOAT32,
) -> Examined:
    """Compute what the search for faults needs of all images.

    Args:
        dataset: Dataset.
        backbones: Pool of the backbone whose features are compared.
        device: Device on which to compute the features.
        store: Store of the features of training and validation images, which trials use too.
        precision: Precision of the features, ``float32`` or ``bfloat16``.
    """
    images = dataset.audited()
    not_sought: dict[str, str] = {}
    features = None
    if len(images.found) > MAX_IMAGES:
        not_sought["near copies, label errors"] = f"{len(images.found):,} images are more than {MAX_IMAGES:,}"
    else:
        features = _trusted_features(dataset, images.whole, backbones, device, store, precision, not_sought)
    searched = np.array([image.row for image in images.found if image.split != "test"])
    labels = images.whole.labels[searched]
    predictions = None if features is None else _predictions(features[searched], labels, dataset.classes, not_sought)
    return Examined(images, exact_groups(images.digests), features, searched, labels, predictions, not_sought)


def find_faults(seen: Examined) -> DataFaults:
    """Find the faults of a dataset that was examined."""
    images, exact, predictions = seen.images, seen.exact, seen.predictions
    few = len(images.found) <= MAX_IMAGES
    copies = _with_near_copies(images.whole, exact, seen.features) if few else exact
    identical = {tuple(group) for group in exact}
    return DataFaults(
        copies=tuple(Copies(tuple(images.found[row] for row in group), tuple(group) in identical) for group in copies),
        label_errors=() if predictions is None else _label_errors(predictions, seen.labels, images, seen.searched),
        never_right=() if predictions is None else tuple(never_right(predictions, seen.labels)),
        test_images=sum(image.split == "test" for image in images.found),
        not_sought=seen.not_sought,
        straddling=find_straddling(images),
    )


def find_straddling(images: AuditedImages) -> tuple[StraddlingGroup, ...]:
    """Find the groups of images that are in several splits, by name; of folds, each is a split of its own."""
    members: dict[str, dict[str, list[FoundImage]]] = {}
    for image, group in zip(images.found, images.groups or (), strict=images.groups is not None):
        members.setdefault(group, {}).setdefault(image.place, []).append(image)
    return tuple(
        StraddlingGroup(
            name,
            counts={place: len(own) for place, own in by_place.items()},
            test=tuple(image.position for image in by_place.get("test", ())),
            examples=tuple(own[0] for own in by_place.values()),
        )
        for name, by_place in sorted(members.items())
        if len(by_place) > 1
    )


def pooled_features(
    splits: Sequence[ImageSplit],
    backbones: BackbonePool,
    device: torch.device,
    store: FeatureStore | None = None,
    precision: str = FLOAT32,
    *,
    pretrained: bool = True,
    seed: int = 0,
) -> list[NDArray[np.float32]]:
    """Global averages of the network's last features, pretrained or with random weights, float32 (N, D) of each split.

    Args:
        splits: Images.
        backbones: Pool of the backbone.
        device: Device on which to compute.
        store: Store of the features; None computes all and keeps none.
        precision: Precision of the features, ``float32`` or ``bfloat16``.
        pretrained: Whether the weights are the pretrained ones.
        seed: Seed of random weights.
    """
    backbone = backbones.fresh(pretrained=pretrained, seed=seed).to(device)
    depth = len(backbone.units)
    pooling = FixedPooling.average(backbone.units[-1].output_shape)
    prefix = FrozenPrefix(backbone.segment(0, depth), depth, pooling, precision)
    found: list[NDArray[np.float32]] = []
    for images in splits:
        source = evaluation_source(images, prefix, store or FeatureStore(0), device)
        batches = torch.arange(len(images)).split(_BATCH)
        found.append(torch.cat([source.batch(positions, epoch=0).float().cpu() for positions in batches]).numpy())
    backbone.to("cpu")
    # A CPU's is used again at once.
    if device.type != "cpu":
        free_memory(device)
    return found


def _trusted_features(
    dataset: ImageDataset,
    whole: ImageSplit,
    backbones: BackbonePool,
    device: torch.device,
    store: FeatureStore | None,
    precision: str,
    not_sought: dict[str, str],
) -> NDArray[np.float32] | None:
    """Features of all images; None, with the reason, where they would mean nothing."""
    missing = "label errors, cropped or mirrored copies"
    if backbones.spec.weights == "none":
        not_sought[missing] = "the network has no pretrained weights"
        return None
    searched = dataset.search_splits()
    rest = _without(whole, searched)
    found = pooled_features(searched, backbones, device, store, precision)
    found += pooled_features([rest], backbones, device, precision=precision)
    features = np.empty((len(whole), found[0].shape[1]), np.float32)
    for split, part in zip((*searched, rest), found, strict=True):
        features[split.indices] = part
    if not np.isfinite(features).all():
        not_sought[missing] = "the pretrained network's features are not finite"
        return None
    return features


def _without(whole: ImageSplit, splits: Sequence[ImageSplit]) -> ImageSplit:
    """The images of a dataset that are in none of some splits."""
    rows = np.setdiff1d(whole.indices, np.concatenate([split.indices for split in splits]))
    return replace(whole, indices=rows, labels=whole.labels[rows])


def _with_near_copies(
    images: ImageSplit, exact: Sequence[Sequence[int]], features: NDArray[np.float32] | None
) -> list[list[int]]:
    """Groups of rows that show the same picture; of exact copies, one is compared with the other images."""
    repeated = {row for group in exact for row in group[1:]}
    rows = np.array([row for row in range(len(images)) if row not in repeated])
    canvases = images.canvas if not repeated else images.canvas[rows]
    pairs = near_pairs(canvases, None if features is None else features[rows])
    return joined(len(images), rows[pairs], exact)


def _predictions(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str], not_sought: dict[str, str]
) -> NDArray[np.float64] | None:
    """Out-of-fold predictions of training and validation images; None, with the reason, for too many."""
    if features.size * len(classes) > MAX_PROBE:
        size = f"{len(features):,} images of {len(classes):,} classes"
        not_sought["label errors"] = f"{size} are too many for a probe on {features.shape[1]:,} features"
        return None
    return out_of_fold(features, labels)


def _label_errors(
    predictions: NDArray[np.float64], labels: NDArray[np.int64], images: AuditedImages, rows: NDArray[np.int64]
) -> tuple[LabelError, ...]:
    return tuple(
        LabelError(images.found[rows[doubt.position]], doubt.suggested, doubt.probability, doubt.label_probability)
        for doubt in doubtful_labels(predictions, labels)
    )
