"""Facts about the data and the backbone of a study, recorded when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...objectives.data import Levels
from ...objectives.precision import PrecisionChoice


@dataclass(frozen=True)
class StudyFacts:
    """Facts about data and backbone, recorded when the study starts.

    Attributes:
        classes: Names of the classes.
        counts: Numbers of images by split.
        fingerprint: Fingerprint of the images and labels.
        skipped: Files that were left out, with the reason.
        units: Names of the backbone's units, from the input.
        frozen_flops: Share of the forward FLOPs before each depth 0..n.
        notes: Warnings about the network, such as layers missing from the file of its weights.
        class_counts: Numbers of images by split and class; empty in older studies.
        weights: Hash of the backbone's initial weights; empty in older studies.
        code: Fingerprints of space, code and libraries; empty in older studies.
        data_notes: What a user may not expect of the data, such as files that were not taken as images.
        pixel_scale: Values that became white in images of more than 8 bits, by kind, or one a channel; empty without
            such images.
        forked_from: Name of the study whose settings this one took over.
        splits: Fingerprint of the images and their splits; empty in older studies.
        precision: Precision of the arithmetic, and why; None in older studies.
        folds: Number of images of each fold, of which the first one's are ``train`` and ``val``; empty without folds.
        first_layer: What was done to the first layer for images of other than 3 channels; empty for color.
        prepared: Sentence about what happens to each image before the network sees it; empty in older studies.
    """

    classes: tuple[str, ...]
    counts: dict[str, int]
    fingerprint: str
    skipped: tuple[tuple[str, str], ...]
    units: tuple[str, ...]
    frozen_flops: tuple[float, ...]
    notes: tuple[str, ...] = ()
    class_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    weights: str = ""
    code: dict[str, str] = field(default_factory=dict)
    data_notes: tuple[str, ...] = ()
    pixel_scale: dict[str, Levels] = field(default_factory=dict)
    forked_from: str = ""
    prepared: str = ""
    splits: str = ""
    precision: PrecisionChoice | None = None
    folds: tuple[int, ...] = ()
    first_layer: str = ""

    @property
    def val_images(self) -> int | None:
        """Return the number of images that validate a trial: with folds, of all; None if it is not known."""
        return sum(self.folds) or self.counts.get("val")

    def final_val_images(self, place: int) -> int:
        """Return the number of images that validate a final with the seed of a place, from 0."""
        return self.folds[place % len(self.folds)] if self.folds else self.counts["val"]
