"""The search for faults of a study's data, once, before its first trial; and the data's nearness to the pretraining."""

from __future__ import annotations

from ...objectives.data import DataFaults, Nearness, describe_faults
from ...objectives.devices import free_memory
from ...objectives.fault_finder import examine, find_faults, find_straddling
from ...objectives.features import FeatureStore
from ...objectives.nearness_probe import finish_nearness, pretrained_nearness
from ...storage.files import FeatureFiles
from ..slots import ProcessResources, Resources
from ..study import Observer, Prepared, device_of_trials, precision_of_features

# Number of images above which the search takes long enough to be announced.
_MANY = 5000


def audit_data(prepared: Prepared, resources: Resources, observer: Observer, *, wanted: bool = True) -> None:
    """Find the faults of a study's data, keep them with the study and say them, unless that was done before.

    Nothing of it reaches a trial: it writes a table that only readers open.

    Args:
        prepared: The study with its dataset and backbones.
        resources: Resources of the study.
        observer: Observer of the work.
        wanted: Whether to look at the images; False keeps that nothing was looked for in them.
    """
    study, dataset = prepared.study, prepared.dataset
    if study.data_faults.get() is not None:
        return
    faults = _examine(prepared, resources, observer) if wanted else _unexamined(prepared)
    study.data_faults.set(faults.to_row())
    if said := describe_faults(faults, dataset.classes):
        observer.note(f"{said} To see them: frostline report {study.settings.name}{study.workspace.option}")
    for what, reason in faults.not_sought.items():
        if wanted:
            observer.note(f"not looked for: {what}; {reason}")


def _unexamined(prepared: Prepared) -> DataFaults:
    """The faults that need no look at images: groups that come with the data in several splits."""
    study = prepared.study
    study.diagnoses.keep_nearness(Nearness(reason="--no-audit"))
    return DataFaults(
        test_images=study.facts.counts["test"],
        not_sought={"copies, label errors": "--no-audit"},
        straddling=find_straddling(prepared.dataset.audited()),
    )


def _examine(prepared: Prepared, resources: Resources, observer: Observer) -> DataFaults:
    study = prepared.study
    images = sum(study.facts.counts.values())
    if images > _MANY:
        observer.note(f"looking for copies and label errors among {images:,} images (--no-audit leaves it out)")
    # The machine that starts a cluster's workers may lack what they have.
    device = device_of_trials(resources)
    # Trials on the last features find them there: no image passes the network twice.
    size = ProcessResources.all_of(resources).cache_bytes
    store = FeatureStore.open(device, size, FeatureFiles(study.workspace.features))
    seen = examine(prepared.dataset, prepared.backbones, device, store, precision_of_features(study.facts, device))
    study.diagnoses.keep_nearness(pretrained_nearness(seen))
    return find_faults(seen)


def complete_nearness(prepared: Prepared, resources: Resources) -> None:
    """Measure what is left of the nearness of a study's data to the pretraining, when its trials have ended."""
    study = prepared.study
    if (begun := study.diagnoses.nearness()) is not None:
        device = device_of_trials(resources)
        precision = precision_of_features(study.facts, device)
        seed = study.settings.seed
        finished = finish_nearness(begun, prepared.dataset, prepared.backbones, device, precision, seed=seed)
        if finished != begun:
            free_memory(device)
            study.diagnoses.keep_nearness(finished)
