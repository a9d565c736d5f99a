"""What the files of a study hold that they should not, or no longer as it was written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ...storage.files.checkpoints import CheckpointFolder
from ...storage.files.feature_files import FeatureFiles
from ...storage.tracking.journal import read_unsent
from ...storage.tracking.tracker import send_journal
from ..study.study import Study
from .snapshot import Evidence, Finding


def records_not_sent(evidence: Evidence) -> Iterator[Finding]:
    """What MLflow shall show and has not got."""
    study = evidence.study
    file = study.workspace.journal(study.settings.name)
    records, damaged = read_unsent(file)
    if records:
        yield Finding(
            f"{len(records)} records have not been sent to MLflow", str(file), "they are sent", partial(send, study)
        )
    if damaged:
        yield Finding(
            f"{damaged} lines are damaged, and may not have been sent",
            str(file),
            "what follows them is sent, and MLflow then compared with the study",
            partial(send, study),
        )


def checkpoints_of_nobody(evidence: Evidence) -> Iterator[Finding]:
    """Checkpoints of trainings that are finished, or that the study does not know."""
    for folder in _checkpoint_folders(evidence.study):
        # Which trainings a curve still wants, only who asks for it knows.
        wanted = folder.name.startswith("curve-") and folder.name not in evidence.curve_keys
        if folder.name not in evidence.open_keys and not wanted:
            yield Finding(
                "checkpoints of a training that nobody goes on with",
                str(folder),
                "they are removed",
                partial(shutil.rmtree, folder, ignore_errors=True),
            )


def damaged_checkpoints(evidence: Evidence) -> Iterator[Finding]:
    """Checkpoints that are torn or changed."""
    for folder in _checkpoint_folders(evidence.study):
        if folder.name in evidence.open_keys:
            for file in CheckpointFolder(folder).damaged():
                yield Finding(
                    "a checkpoint is torn or was changed",
                    str(file),
                    "it is removed: its training goes on from the one before, or begins anew",
                    partial(file.unlink, missing_ok=True),
                )


def damaged_features(evidence: Evidence) -> Iterator[Finding]:
    """Features and stages that are torn or changed."""
    place = evidence.study.workspace
    for folder, kind in ((place.features, "features"), (place.stages, "stage")):
        if not folder.exists():
            continue
        files = FeatureFiles(folder, kind)
        for key in files.damaged():
            yield Finding(
                f"{kind} in a file are torn or were changed",
                str(folder / f"{key}.{kind}"),
                "it is removed, and computed again where it is needed",
                partial(files.remove, key),
            )


def send(study: Study) -> None:
    """Send MLflow what it has not got, for who holds the study."""
    send_journal(study.tracking_uri, study.workspace, study.settings.name, lambda _: None)


def _checkpoint_folders(study: Study) -> list[Path]:
    folder = study.workspace.checkpoints(study.settings.name)
    return sorted(folder.iterdir()) if folder.exists() else []
