"""The search for faults of a study's data, and their nearness to the pretraining: once, before its first trial."""

from __future__ import annotations

from ...objectives.data import DataFaults, Nearness, describe_faults
from ...objectives.devices import choose_device
from ...objectives.fault_finder import examine, find_faults, find_straddling
from ...objectives.nearness_probe import measure_nearness
from ..slots import Resources
from ..study import Observer, Prepared

# Number of images above which the search takes long enough to be announced.
_MANY = 5000


def audit_data(prepared: Prepared, resources: Resources, observer: Observer, *, wanted: bool = True) -> None:
    """Find the faults of a study's data, keep them with the study and say them, unless that was done before.

    Nothing of it reaches a trial: it writes a table that only readers open.

    Args:
        prepared: The study with its dataset and backbones.
        resources: Resources of the study.
        observer: Observer of the work.
        wanted: Whether to look for faults; False keeps that nothing was looked for.
    """
    study, dataset = prepared.study, prepared.dataset
    if study.data_faults.get() is not None:
        return
    if not wanted:
        groups, tested = find_straddling(dataset.audited()), study.facts.counts["test"]
        unsought = {"copies, label errors": "--no-audit"}
        study.data_faults.set(DataFaults(test_images=tested, not_sought=unsought, straddling=groups).to_row())
        study.diagnoses.keep_nearness(Nearness(reason="--no-audit"))
        return
    images = sum(study.facts.counts.values())
    if images > _MANY:
        observer.note(f"looking for copies and label errors among {images:,} images (--no-audit leaves it out)")
    # The devices of a cluster's workers may not be there on the machine that starts them.
    device = choose_device("auto" if resources.engine == "ray" else resources.device)
    seen = examine(dataset, prepared.backbones, device)
    faults = find_faults(seen)
    study.diagnoses.keep_nearness(measure_nearness(seen, prepared.backbones, device, study.settings.seed))
    study.data_faults.set(faults.to_row())
    if said := describe_faults(faults, dataset.classes):
        observer.note(f"{said} To see them: frostline report {study.settings.name}{study.workspace.option}")
    for what, reason in faults.not_sought.items():
        observer.note(f"not looked for: {what}; {reason}")
