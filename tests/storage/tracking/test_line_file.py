"""A file of lines: whole lines come back from any place, torn ones are cut off, and what was deleted is there again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from frostline.storage.tracking.line_file import LineFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "lines.jsonl"


def written(path: Path, *lines: bytes) -> LineFile:
    file = LineFile(path)
    for line in lines:
        file.append(line)
    return file


def test_lines_are_read_from_an_offset_as_many_as_begin_within_a_size(path: Path) -> None:
    file = written(path, b"one\n", b"three\n", b"five\n")
    assert file.size == 15
    assert file.read(0, 100) == [b"one\n", b"three\n", b"five\n"]
    assert file.read(4, 100) == [b"three\n", b"five\n"]
    assert file.read(0, 1) == [b"one\n"]
    assert file.read(0, 5) == [b"one\n", b"three\n"]
    assert file.read(4, 11) == [b"three\n", b"five\n"]


def test_what_another_process_appends_is_not_read(path: Path) -> None:
    file = written(path, b"one\n", b"two\n")
    with path.open("ab") as other:
        other.write(b"three\nfo")
    assert file.read(0, 100) == [b"one\n", b"two\n"]
    assert file.read(4, 100) == [b"two\n"]


def test_lines_of_an_earlier_process_come_back_without_a_torn_one(path: Path) -> None:
    written(path, b"one\n", b"two\n").close()
    whole = LineFile(path)
    assert list(whole.recover()) == [b"one\n", b"two\n"]
    assert (whole.size, whole.torn, whole.missing) == (8, False, False)
    path.write_bytes(b"one\ntwo\nthr")
    torn = LineFile(path)
    assert list(torn.recover()) == [b"one\n", b"two\n"]
    assert (torn.size, torn.torn, torn.missing) == (8, True, False)
    assert path.read_bytes() == b"one\ntwo\n"
    torn.append(b"four\n")
    assert path.read_bytes() == b"one\ntwo\nfour\n"


@pytest.mark.parametrize(("content", "torn"), [(None, False), (b"", False), (b"tor", True)])
def test_a_file_without_a_whole_line_is_missing(path: Path, content: bytes | None, torn: bool) -> None:
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    file = LineFile(path)
    assert list(file.recover()) == []
    assert (file.size, file.torn, file.missing) == (0, torn, True)
    assert path.exists() == (content is not None)
    assert not LineFile(path).missing


def test_a_line_is_written_to_its_end_however_little_a_write_takes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    file = written(path, b"a long line\n")
    assert path.read_bytes() == b"a long line\n"
    assert file.size == 12


def test_on_a_full_disk_no_part_of_a_line_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, write = written(path, b"one\n"), os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:4])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            file.append(b"a long line\n")
    assert path.read_bytes() == b"one\n"
    assert file.size == 4
    file.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_rewritten_file_has_the_new_content_alone_and_goes_on(path: Path) -> None:
    file = written(path, b"one\n", b"two\n")
    file.rewrite(b"six\n")
    assert (path.read_bytes(), file.size) == (b"six\n", 4)
    assert file.read(0, 100) == [b"six\n"]
    file.append(b"seven\n")
    assert path.read_bytes() == b"six\nseven\n"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_open_file_is_one_until_it_is_closed(path: Path) -> None:
    file = written(path, b"one\n")
    descriptor = file.keep()
    assert file.keep() == descriptor
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    file.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o644 & ~os.umask(os.umask(0))


@pytest.mark.parametrize("by", ["deleted", "folder", "replaced"])
def test_a_file_that_went_away_while_open_is_written_again(path: Path, by: str) -> None:
    file = written(path, b"one\n", b"two\n")
    path.unlink()
    if by == "folder":
        path.parent.rmdir()
    elif by == "replaced":
        path.write_bytes(b"old\n")
    file.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert file.read(0, 100) == [b"one\n", b"two\n", b"three\n"]


def test_a_folder_that_cannot_be_looked_into_is_no_reason_to_write_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(path, b"one\n")
    descriptor = file.keep()

    def forbidden(self: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", forbidden)
        assert file.keep() == descriptor
        file.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
