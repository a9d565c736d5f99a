"""Checks of a study's files: records that are not uploaded, useless or damaged checkpoints, damaged cache files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ...storage.files import CheckpointFolder, FeatureFiles
from ...storage.tracking import describe_refused, read_unsent, send_journal
from ..study import Study
from .snapshot import Finding, StudySnapshot


def unsent_records(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find records of the journal that are not in MLflow."""
    study = evidence.study
    file = study.workspace.journal(study.settings.name)
    unsent = read_unsent(file)
    if unsent.records:
        yield Finding(
            f"{len(unsent.records)} records are not in MLflow yet", str(file), "they are uploaded", partial(send, study)
        )
    if unsent.refused:
        yield Finding(
            describe_refused(unsent.refused).rstrip("."),
            str(file),
            "they are sent again; if MLflow refuses them again, mend what it says",
            partial(send, study),
        )
    if unsent.damaged:
        yield Finding(
            f"{unsent.damaged} lines are damaged and may be missing in MLflow",
            str(file),
            "the lines after them are uploaded, then MLflow is compared with the study",
            partial(send, study),
        )


def orphaned_checkpoints(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find checkpoints of trainings that are finished, or unknown to the study."""
    for folder in _checkpoint_folders(evidence.study):
        # Only the command `frostline curve` knows which trainings of a curve are left.
        wanted = folder.name.startswith("curve-") and folder.name not in evidence.curve_keys
        if folder.name not in evidence.open_keys and not wanted:
            yield Finding(
                "checkpoints of a training that no worker will resume",
                str(folder),
                "they are removed",
                partial(shutil.rmtree, folder, ignore_errors=True),
            )


def damaged_checkpoints(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find incomplete or changed checkpoints."""
    for folder in _checkpoint_folders(evidence.study):
        if folder.name in evidence.open_keys:
            for file in CheckpointFolder(folder).damaged():
                yield Finding(
                    "a checkpoint is incomplete or was changed",
                    str(file),
                    "it is removed; its training resumes from the one before, or restarts",
                    partial(file.unlink, missing_ok=True),
                )


def damaged_features(evidence: StudySnapshot) -> Iterator[Finding]:
    """Find incomplete or changed files of features and stages."""
    place = evidence.study.workspace
    for folder, kind in ((place.features, "features"), (place.stages, "stage")):
        if not folder.exists():
            continue
        files = FeatureFiles(folder, kind)
        for key in files.damaged():
            yield Finding(
                f"the file ({kind}) is incomplete or was changed",
                str(folder / f"{key}.{kind}"),
                "it is removed, and computed again when needed",
                partial(files.remove, key),
            )


def send(study: Study) -> None:
    """Upload the journal of a study, which the caller has locked."""
    send_journal(study.tracking_uri, study.workspace, study.identify(), lambda _: None)


def _checkpoint_folders(study: Study) -> list[Path]:
    folder = study.workspace.checkpoints(study.settings.name)
    return sorted(folder.iterdir()) if folder.exists() else []
