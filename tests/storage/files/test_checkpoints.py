"""Checkpoints on disk: whole or not there, and the one before kept."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.storage.errors import StorageError
from frostline.storage.files import checkpoints
from frostline.storage.files.checkpoints import CheckpointFolder


def kept(folder: Path, *states: bytes, token: int = 0) -> CheckpointFolder:
    place = CheckpointFolder(folder, token)
    for state in states:
        place.save(state)
    return CheckpointFolder(folder)


def test_the_latest_is_found_and_the_one_before_is_kept(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "trial-1").load() is None
    place = kept(tmp_path / "trial-1", b"first", b"second", b"third")
    assert place.load() == b"third"
    assert sorted(file.name for file in (tmp_path / "trial-1" / "0").iterdir()) == ["latest", "previous"]
    (tmp_path / "trial-1" / "0" / "latest").unlink()
    assert place.load() == b"second"
    place.remove()
    assert list(tmp_path.iterdir()) == []
    place.remove()
    assert place.load() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:10],
        lambda content: b"",
        lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
        lambda content: bytes(len(content)),
        lambda content: content + b"\0",
    ],
    ids=["torn", "torn early", "empty", "a bit", "zeros", "longer"],
)
def test_what_is_not_whole_is_not_loaded(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    place = kept(tmp_path, b"first" * 9, b"second" * 9)
    latest, previous = tmp_path / "0" / "latest", tmp_path / "0" / "previous"
    latest.write_bytes(damage(latest.read_bytes()))
    assert place.load() == b"first" * 9
    previous.write_bytes(damage(previous.read_bytes()))
    assert place.load() is None
    assert kept(tmp_path, b"third").load() == b"third"


def test_a_kill_while_one_is_written_leaves_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, b"first")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            kept(tmp_path, b"second")
    assert CheckpointFolder(tmp_path).load() == b"first"
    assert kept(tmp_path, b"third").load() == b"third"


def test_a_worker_that_comes_back_harms_nothing_of_its_successors(tmp_path: Path) -> None:
    zombie = CheckpointFolder(tmp_path, 1)
    zombie.save(b"first")
    successor = CheckpointFolder(tmp_path, 2)
    assert successor.load() == b"first"
    successor.save(b"second")
    zombie.save(b"late")
    assert CheckpointFolder(tmp_path, 10).load() == b"second"
    # What the first worker wrote goes once it is not needed.
    successor.save(b"third")
    assert [folder.name for folder in tmp_path.iterdir()] == ["2"]
    (tmp_path / "2" / "latest").write_bytes(b"")
    assert CheckpointFolder(tmp_path, 10).load() == b"second"


def test_a_full_disk_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(StorageError, match=r"trial-1.*No space left.*frostline resume"):
        kept(tmp_path / "trial-1", b"state")
