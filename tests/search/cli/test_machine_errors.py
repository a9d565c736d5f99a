"""Errors of the machine end a command with a sentence; bugs keep their traceback."""

from __future__ import annotations

import errno
import io
import sys

import pytest
from optuna.exceptions import StorageInternalError

from frostline.dashboards.cli import print_anywhere
from frostline.search.cli.application import _explain
from frostline.storage.errors import StorageError, StudyBusyError, UnreachableError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.npy"), "No space left on device: a.npy. Set that right"),
        (PermissionError(errno.EACCES, "Permission denied", "a.lock"), "Permission denied: a.lock. Set that right"),
        (MemoryError(), "This machine is out of memory. Set that right"),
        (StorageInternalError("malformed"), "The studies' database cannot be used: malformed. Restore it from a copy"),
    ],
)
def test_what_the_machine_refuses_is_said(error: Exception, said: str) -> None:
    text, code = _explain(error)
    assert text.startswith(said)
    assert code == 1


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "The journal a.jsonl cannot be used: No space left on device.",
            " Set that right, then type the command again",
        ),
        ("The disk is full. Type: frostline resume", ""),
    ],
)
def test_files_and_databases_that_fail_say_what_to_type_once(said: str, advice: str) -> None:
    full = StorageError(said)
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    for error in (full, UnreachableError(said.rstrip("."))):
        text, code = _explain(error)
        assert text.partition(": what is finished")[0].rstrip(".") == f"{said}{advice}".rstrip(".")
        assert code == 1
    assert _explain(StudyBusyError("Another process is working."))[0] == "Another process is working."


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "No such file", "a"), KeyError("a"), ValueError("a")]
)
def test_what_may_be_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert _explain(error) == ("", None)


def test_output_without_unicode_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    print_anywhere()
    print("86.3 ± 2.0", flush=True)
    assert written.getvalue() == b"86.3 ? 2.0\n"
