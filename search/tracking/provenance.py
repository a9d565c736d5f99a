"""The provenance of a run: its command line and git commit, without secrets."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ..study import Study

_GIT_SECONDS = 2.0


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return a command line for a shell, without users and passwords in URLs.

    Args:
        arguments: Program and arguments; this process's by default.

    Examples:
        >>> from frostline.search.tracking.provenance import command_line
        >>> command_line(["/usr/bin/frostline", "search", "my photos", "--storage", "postgresql://user:pw@db/f"])
        "frostline search 'my photos' --storage postgresql://db/f"
    """
    program, *rest = sys.argv if arguments is None else arguments
    shown = [re.sub(r"(?<=://)[^/\s]*@", "", argument) for argument in rest]
    return shlex.join([Path(program).name, *shown])


def git_tags(folder: Path | None = None) -> dict[str, str]:
    """Return tags with the commit checked out in a folder and whether it has uncommitted changes; empty outside git.

    Args:
        folder: Folder; by default the current one, which has the user's study files, plugins and backbones.
    """
    # Excludes tags, so the output is the commit.
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return {}
    commit, _, changed = said.stdout.strip().partition("-")
    return {"mlflow.source.git.commit": commit, **({"frostline.uncommitted_changes": "yes"} if changed else {})}


def parent_tags(study: Study) -> dict[str, str]:
    """Return the tags of a study's parent run: settings, command, commit and version."""
    settings, facts = study.settings, study.facts
    return {
        "frostline.data": settings.data,
        "frostline.backbone": settings.backbone,
        "frostline.weights": settings.weights,
        "frostline.metric": settings.metric,
        **({"frostline.precision": facts.precision.precision.sentence} if facts.precision else {}),
        "frostline.fingerprint": facts.fingerprint,
        "frostline.command": command_line(),
        "frostline.version": version("frostline"),
        **({"frostline.forked_from": facts.forked_from} if facts.forked_from else {}),
        **git_tags(),
    }
