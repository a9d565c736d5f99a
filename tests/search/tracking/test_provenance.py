"""Where a run comes from: what was typed, without secrets, and the commit, as git says it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from frostline.search.tracking.provenance import command_line, git_tags


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    said = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return said.stdout.strip()


def test_the_command_is_shown_for_a_shell_and_without_secrets() -> None:
    typed = ["/usr/bin/frostline", "search", "my photos", "--tracking-uri", "https://user:s3cr@et@host:5000/x"]
    assert command_line(typed) == "frostline search 'my photos' --tracking-uri https://host:5000/x"
    assert command_line(["frostline", "--tracking-uri=http://user:pw@host"]) == "frostline --tracking-uri=http://host"


def test_the_commit_is_the_one_that_git_names(tmp_path: Path) -> None:
    assert git_tags(tmp_path) == {}
    git(tmp_path, "init", "-q")
    assert git_tags(tmp_path) == {}
    (tmp_path / "study.toml").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    # A tag would be named instead, were it asked for.
    git(tmp_path, "tag", "-am", "v", "v1-x")
    expected = {"mlflow.source.git.commit": git(tmp_path, "rev-parse", "HEAD")}
    assert git_tags(tmp_path) == expected
    (tmp_path / "study.toml").write_text("2")
    assert git_tags(tmp_path) == {**expected, "frostline.uncommitted_changes": "yes"}
