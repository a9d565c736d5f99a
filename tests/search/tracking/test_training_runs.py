"""What trials say in MLflow when they end, and while they train (more in test_models.py)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from frostline.objectives.epochs import EpochResult
from frostline.search.records import TrialRecord
from frostline.search.tracking.training_runs import epoch_metrics, finish_trial_run, trial_name
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.journal_records import FINISH, STEP
from frostline.storage.tracking.tracker import TrackedRun

CONFIG = {"strategy": "partial", "freeze_depth": 6}


def ended(file: Path, trial: TrialRecord, outcome: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """How a trial's run is ended, and the tags that it got."""
    with closing(Journal(file)) as journal:
        finish_trial_run(TrackedRun(journal, f"trial-{trial.number}"), trial, "resnet50", outcome)
        batch = journal.unsent().records
    tags = {name: value for record in batch for name, value in record.content.get("tags", {}).items()}
    (end,) = [record.content for record in batch if record.kind == FINISH]
    return end, tags


@pytest.mark.parametrize(
    ("state", "score", "name", "status"),
    [
        ("complete", 0.9131, "017 partial d=6 resnet50 0.913", "FINISHED"),
        ("pruned", 0.5, "017 partial d=6 resnet50 0.500 pruned", "FINISHED"),
        ("failed", None, "017 partial d=6 resnet50 failed", "FAILED"),
    ],
)
def test_a_run_is_named_after_how_its_trial_ended(
    tmp_path: Path, state: str, score: float | None, name: str, status: str
) -> None:
    trial = TrialRecord(17, state, "partial", CONFIG, score)
    end, tags = ended(tmp_path / "journal", trial, {"reason": "training loss is nan"} if state == "failed" else {})
    assert end == {"status": status, "name": name}
    assert tags["trial.state"] == state
    assert tags.get("reason") == ("training loss is nan" if state == "failed" else None)
    assert name.startswith(trial_name(17, CONFIG, "resnet50"))


def test_what_an_earlier_worker_may_not_have_told_is_told(tmp_path: Path) -> None:
    trial = TrialRecord(17, "pruned", "partial", CONFIG, 0.5, curve={0: 0.3, 1: 0.4, 2: 0.5})
    with closing(Journal(tmp_path / "journal")) as journal:
        finish_trial_run(TrackedRun(journal, "trial-17"), trial, "resnet50", {}, logged=[1])
        steps = [record.content for record in journal.unsent().records if record.kind == STEP]
    assert [(step["step"], step["metrics"]) for step in steps] == [
        (0, {"curves/val_score": 0.3}),
        (2, {"curves/val_score": 0.5}),
    ]


def test_curves_come_before_all_other_metrics_in_mlflows_order() -> None:
    result = EpochResult(3, "head", 0.9, 0.8, 0.7, {"head": 1e-3, "backbone": 1e-4}, 2.0)
    told = epoch_metrics(result)
    assert told["curves/val_score"] == 0.7
    assert told["learning_rate/backbone"] == 1e-4
    sections = [name.partition("/")[0] for name in told]
    assert sections == sorted(sections)
    assert max(sections) < min("system", "test", "val")
