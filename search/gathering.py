"""What a study is of: its images as its networks see them, and the facts that it keeps about them."""

from __future__ import annotations

from ..objectives.dataset import ImageDataset, prepare_dataset
from ..objectives.finetune import BackbonePool
from ..objectives.preprocessing import Preprocessing
from ..storage.workspace import Workspace
from .drift import fingerprints
from .progress import Observer
from .results import StudyFacts
from .settings import StudySettings


def decode(
    settings: StudySettings,
    preprocessing: Preprocessing,
    workspace: Workspace,
    observer: Observer,
    data: str | None = None,
) -> ImageDataset:
    """The study's images as its networks see them, from where they are on this machine."""
    dataset = prepare_dataset(
        data or settings.data,
        preprocessing,
        cache_dir=workspace.images,
        seed=settings.seed,
        on_progress=observer.decoding,
    )
    for file, reason in dataset.skipped.items():
        observer.note(f"left out {file}: {reason}")
    return dataset


def gather_facts(settings: StudySettings, dataset: ImageDataset, backbones: BackbonePool) -> StudyFacts:
    """What is found out about a study when it begins."""
    backbone = backbones.pretrained
    depths = range(len(backbone.units) + 1)
    notes = [backbone.weights_report.warning] if backbone.weights_report.warning else []
    if backbones.spec.weights == "none":
        notes.append("weights are none: every strategy starts from random weights, so none can profit from pretraining")
    return StudyFacts(
        classes=dataset.classes,
        counts={split: sum(classes.values()) for split, classes in dataset.counts.items()},
        fingerprint=dataset.fingerprint,
        skipped=tuple(dataset.skipped.items()),
        units=tuple(unit.name for unit in backbone.units),
        frozen_flops=tuple(backbone.frozen_share(depth)[1] for depth in depths),
        notes=tuple(notes),
        class_counts=dataset.counts,
        weights=backbones.fingerprint,
        code=fingerprints(settings),
    )
