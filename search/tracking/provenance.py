"""Where a run comes from: the command that was typed and the commit that it was typed in, without secrets."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ..study.study import Study

_GIT_SECONDS = 2.0


def command_line(arguments: Sequence[str] | None = None) -> str:
    """What was typed, for a shell; user and password of URLs left out.

    Args:
        arguments: The program and what follows; this process's if None.
    """
    program, *rest = sys.argv if arguments is None else arguments
    shown = [re.sub(r"(?<=://)[^/\s]*@", "", argument) for argument in rest]
    return shlex.join([Path(program).name, *shown])


def git_tags(folder: Path | None = None) -> dict[str, str]:
    """The commit that is checked out in a folder, and whether there are changes to it; empty outside of git.

    Args:
        folder: The current one if None: there are study files, plugins and backbones of the user's.
    """
    # Of any other kind of name, none; so that what is left is the commit.
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return {}
    commit, _, changed = said.stdout.strip().partition("-")
    return {"mlflow.source.git.commit": commit, **({"frostline.uncommitted_changes": "yes"} if changed else {})}


def parent_tags(study: Study) -> dict[str, str]:
    """Tags of a study's parent run: what was asked, by which command, from which commit and version."""
    settings, facts = study.settings, study.facts
    return {
        "frostline.data": settings.data,
        "frostline.backbone": settings.backbone,
        "frostline.weights": settings.weights,
        "frostline.metric": settings.metric,
        "frostline.fingerprint": facts.fingerprint,
        "frostline.command": command_line(),
        "frostline.version": version("frostline"),
        **({"frostline.forked_from": facts.forked_from} if facts.forked_from else {}),
        **git_tags(),
    }
