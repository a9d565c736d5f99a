"""Timing: what the environment says, and that it arrives in workspaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.storage.errors import StorageError
from frostline.storage.timing import Timing
from frostline.storage.workspace import Workspace

LEASE, CHECKPOINT = "FROSTLINE_LEASE_SECONDS", "FROSTLINE_CHECKPOINT_SECONDS"


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEASE, raising=False)
    monkeypatch.delenv(CHECKPOINT, raising=False)


def test_the_environment_sets_lease_and_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Workspace(tmp_path).timing == Timing.from_environment() == Timing(lease=20.0, checkpoint=5.0)
    monkeypatch.setenv(LEASE, "2")
    assert Workspace(tmp_path).timing == Timing(lease=2.0)
    monkeypatch.setenv(CHECKPOINT, "0.5")
    assert Workspace.locate(tmp_path).timing == Timing(lease=2.0, checkpoint=0.5)
    assert Workspace(tmp_path, timing=Timing(lease=7.0)).timing == Timing(lease=7.0)


def test_what_is_no_number_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEASE, "soon")
    with pytest.raises(StorageError, match=r"FROSTLINE_LEASE_SECONDS must be a number of seconds, got 'soon'"):
        Workspace.locate(tmp_path)
