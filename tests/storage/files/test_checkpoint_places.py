"""Checkpoints where several machines share them: as safe as in a folder, and never what ends a search."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from frostline.storage.errors import LeaseLostError
from frostline.storage.files import checkpoints
from frostline.storage.files.checkpoint_places import CheckpointPlace, artifacts_fault, open_place
from frostline.storage.files.checkpoint_places import checkpoint_place as place_of
from frostline.storage.files.checkpoints import CheckpointObjects
from frostline.storage.files.paced_checkpoints import PacedCheckpoints
from frostline.storage.timing import Timing
from frostline.storage.urls import absolute_place, safe_url

SECRET = "correct-horse"


class AwayError(Exception):
    """As a cloud's library has them: of no common kind."""


class Flaky(MemoryFileSystem):
    """A server that may be away."""

    protocol = "flaky"
    away: ClassVar[bool] = False
    slow: ClassVar[float] = 0.0
    torn: ClassVar[bool] = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        self._ask()
        super().pipe_file(path, value[:-1] if self.torn else value, mode=mode, **more)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
        self._ask()
        return super().cat_file(path, start, end, **more)

    def ls(self, path: str, detail: bool = True, **more: Any) -> list[Any]:
        self._ask()
        return super().ls(path, detail, **more)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        self._ask()
        super().rm(path, recursive, maxdepth)

    def _ask(self) -> None:
        time.sleep(self.slow)
        if self.away:
            raise AwayError(f"no answer from flaky://me:{SECRET}@host/bucket\nsince a while")


fsspec.register_implementation("flaky", Flaky)


@pytest.fixture(autouse=True)
def healthy() -> Iterator[None]:
    yield
    Flaky.away, Flaky.slow, Flaky.torn = False, 0.0, False


@pytest.fixture(params=["folder", "file", "memory", "flaky"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "shared")
    return f"file://{tmp_path / 'shared'}" if request.param == "file" else f"{request.param}://{secrets.token_hex(8)}"


def machine(url: str, notes: list[str] | None = None) -> CheckpointPlace:
    """The place as another machine sees it, which has nothing in its own workspace."""
    said: list[str] = [] if notes is None else notes
    return place_of(Path("/nowhere"), url, "birds", said.append)


def save(place: CheckpointPlace, token: int, *states: bytes, key: str = "trial-1") -> None:
    kept = place.checkpoints(key, token)
    for state in states:
        kept.save(state)


def files(url: str) -> list[str]:
    """All that is below a URL."""
    system, path = fsspec.url_to_fs(url)
    return sorted(system.find(path))


def overwrite(url: str, name: str, change: Callable[[bytes], bytes]) -> None:
    system, _ = fsspec.url_to_fs(url)
    system.pipe_file(name, change(system.cat_file(name)))


def newest(url: str) -> str:
    """The latest checkpoint of the latest worker."""
    every = files(url)
    return next((name for name in every if name.endswith("latest")), every[-1])


def test_another_machine_finds_the_latest_and_the_one_before_is_kept(url: str) -> None:
    notes: list[str] = []
    assert machine(url).checkpoints("trial-1", 1).load() is None
    save(machine(url, notes), 1, b"first", b"second", b"third")
    assert machine(url, notes).checkpoints("trial-1", 2).load() == b"third"
    assert len(files(url)) == 2
    overwrite(url, newest(url), lambda content: content[:-1])
    assert machine(url, notes).checkpoints("trial-1", 2).load() == b"second"
    assert machine(url, notes).checkpoints("trial-2", 1).load() is None
    assert notes == []


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[:10], lambda content: bytes(len(content)), lambda c: c + b"\0"],
    ids=["empty", "torn", "zeros", "longer"],
)
def test_what_is_not_whole_is_not_loaded(url: str, damage: Callable[[bytes], bytes]) -> None:
    save(machine(url), 1, b"first" * 9)
    overwrite(url, newest(url), damage)
    assert machine(url).checkpoints("trial-1", 2).load() is None


def test_a_worker_that_comes_back_harms_nothing_of_its_successors(url: str) -> None:
    zombie, successor = machine(url).checkpoints("trial-1", 9), machine(url).checkpoints("trial-1", 10)
    zombie.save(b"first")
    assert successor.load() == b"first"
    successor.save(b"second")
    zombie.save(b"late")
    assert machine(url).checkpoints("trial-1", 11).load() == b"second"
    # What the first worker wrote goes once it is not needed.
    successor.save(b"third")
    assert len(files(url)) == 2
    zombie.save(b"later")
    assert machine(url).checkpoints("trial-1", 11).load() == b"third"
    successor.remove()
    assert files(url) == []
    successor.remove()


def test_what_ended_is_swept_away_by_any_machine(url: str) -> None:
    for key in ("trial-1", "trial-10", "final-full-1-1000"):
        save(machine(url), 1, b"state", b"state", key=key)
    machine(url).sweep({"trial-1", "final-full-1-1000", "trial-7"})
    assert len(files(url)) == 2
    assert all("/trial-10/" in name for name in files(url))


def test_studies_below_one_url_have_folders_of_their_own(url: str) -> None:
    save(machine(url), 1, b"birds")
    other = place_of(Path("/nowhere"), url, "cars", lambda note: None)
    assert other.checkpoints("trial-1", 2).load() is None
    other.sweep({"trial-1"})
    assert machine(url).checkpoints("trial-1", 2).load() == b"birds"


def test_without_a_url_they_are_in_the_workspace(tmp_path: Path) -> None:
    save(place_of(tmp_path / "checkpoints", None, "birds", lambda note: None), 3, b"state")
    assert (tmp_path / "checkpoints" / "trial-1" / "3" / "latest").exists()


def test_folders_are_made_where_a_file_system_has_them(tmp_path: Path) -> None:
    kept = CheckpointObjects(fsspec.filesystem("file"), str(tmp_path), "checkpoints/birds/trial-1", 2)
    for state in (b"first", b"second", b"third"):
        kept.save(state)
    assert kept.load() == b"third"
    assert len(list((tmp_path / "checkpoints" / "birds" / "trial-1").iterdir())) == 2
    kept.remove()
    assert list((tmp_path / "checkpoints" / "birds").iterdir()) == []


def test_a_root_that_is_mistyped_is_not_made(tmp_path: Path) -> None:
    root = tmp_path / "mistyped"
    kept = CheckpointObjects(fsspec.filesystem("file"), str(root), "checkpoints/birds/trial-1")
    with pytest.raises(FileNotFoundError):
        kept.save(b"state")
    assert not root.exists()


# Away


def test_where_nothing_can_be_kept_it_is_told_once_and_nothing_else_happens() -> None:
    url, notes = f"flaky://me:{SECRET}@host/bucket?token={SECRET}", []
    place = machine(url, notes)
    kept = place.checkpoints("trial-1", 2)
    kept.save(b"first")
    Flaky.away = True
    kept.save(b"second")
    assert kept.load() is None
    kept.remove()
    place.sweep({"trial-1"})
    save(place, 1, b"state", key="trial-2")
    assert notes == [
        "Cannot save checkpoints at flaky://host/bucket (no answer from flaky://host/bucket). "
        "The search continues; interrupted trials will restart from epoch 0."
    ]
    Flaky.away = False
    kept.save(b"third")
    assert kept.load() == b"third"


def test_a_shared_folder_that_goes_away_ends_nothing_either(tmp_path: Path) -> None:
    shared, notes = tmp_path / "mount" / "shared", []
    shared.parent.mkdir()
    place = machine(str(shared), notes)
    kept = place.checkpoints("trial-1", 1)
    kept.save(b"first")
    shared.parent.rename(tmp_path / "unmounted")
    shared.parent.write_text("")
    kept.save(b"second")
    save(place, 1, b"state", key="trial-2")
    assert kept.load() is None
    assert len(notes) == 1
    assert notes[0].startswith(f"Cannot save checkpoints at {shared} (Not a directory). ")


def test_that_the_trial_is_anothers_by_now_is_no_trouble_of_the_place(url: str) -> None:
    notes: list[str] = []

    def lost() -> bytes:
        raise LeaseLostError([1])

    with pytest.raises(LeaseLostError):
        PacedCheckpoints(machine(url, notes).checkpoints("trial-1", 1), Timing(checkpoint=0.0)).save(lost)
    assert notes == []


def test_a_slow_place_takes_a_tenth_of_the_time_at_most() -> None:
    Flaky.slow = 0.02
    kept, written = PacedCheckpoints(machine("flaky://slow").checkpoints("trial-1", 1), Timing(checkpoint=0.0)), []

    def state() -> bytes:
        written.append(time.monotonic())
        return b"state"

    began = time.monotonic()
    while len(written) < 2:
        kept.save(state)
        assert time.monotonic() < began + 20
    assert written[1] - written[0] >= 0.02 / 0.1


# Before any training


def test_a_place_that_can_be_used_is_no_fault_and_keeps_nothing(url: str) -> None:
    assert artifacts_fault(url) is None
    assert files(url) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("nonsense://bucket", r"Protocol not known: nonsense"),
        ("adl://bucket/path", r"[Ii]nstall"),
        ("{}/not/mounted", r"there is no folder .*/not"),
        ("file://{}/not/mounted", r"there is no folder .*/not"),
        ("{}/file", r"(Not a directory|File exists)"),
    ],
)
def test_a_place_that_cannot_be_used_is_told_with_the_reason(tmp_path: Path, bad: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    wrong = bad.format(tmp_path)
    fault = artifacts_fault(wrong)
    assert fault is not None
    assert fault.startswith(f"Cannot save checkpoints in {wrong}: ")

    assert re.search(reason, fault), fault
    assert fault.endswith(
        "Name a folder or URL that this machine can write to with --artifacts or FROSTLINE_ARTIFACTS."
    )


def test_nor_is_a_secret_in_it() -> None:
    Flaky.away = True
    fault = artifacts_fault(f"flaky://me:{SECRET}@host/bucket?key={SECRET}")
    assert fault is not None
    assert SECRET not in fault
    assert "Cannot save checkpoints in flaky://host/bucket: no answer from" in fault


def test_nor_one_that_does_not_keep_what_it_gets() -> None:
    Flaky.torn = True
    fault = artifacts_fault("flaky://torn")
    assert fault is not None
    assert "the data read differ from the data written" in fault


def test_folders_hold_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute_place("shared") == absolute_place("~/shared") == str(tmp_path / "shared")
    assert absolute_place("s3://bucket/path") == "s3://bucket/path"
    assert safe_url("/a/b@c") == "/a/b@c"
    assert isinstance(open_place(str(tmp_path), "birds").checkpoints("trial-1", 1), checkpoints.CheckpointFolder)
