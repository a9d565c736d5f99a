"""Whether a kept network can be loaded elsewhere: tried once, in a process that knows only what the network brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Prefix of the name of the package that loads a stored network.
PACKAGE_PREFIX = "frostline_objectives_"
_SCRIPT = Path(__file__).with_name("load_elsewhere.py")
# Marks a folder whose network was loaded.
_LOADED = "loaded-elsewhere"
# The module with `load_network` in the package of a stored network, now and in older versions.
_LOADERS = ("networks.export", "exported")
_SECONDS = 600.0
_OWN_PATHS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")


def package_of(folder: Path) -> str:
    """Return the name of the package that loads a kept network."""
    return next(path.name for path in (folder / "code").iterdir() if path.name.startswith(PACKAGE_PREFIX))


def loader_of(folder: Path) -> str:
    """Return the module with ``load_network`` in the package of a kept network."""
    package = folder / "code" / package_of(folder)
    return next(name for name in _LOADERS if package.joinpath(*name.split(".")).with_suffix(".py").exists())


def load_faults(folders: Sequence[Path]) -> dict[Path, str]:
    """Load kept networks in a process without Frostline, in an empty folder, and predict an image with each.

    Args:
        folders: Folders of networks. A network that was loaded before is not loaded again.

    Returns:
        The reason for each folder whose network cannot be loaded.
    """
    left = [folder for folder in folders if not (folder / _LOADED).exists()]
    if not left:
        return {}
    lines = [json.dumps([str(folder), f"{package_of(folder)}.{loader_of(folder)}"]) for folder in left]
    said, ended = _ask("\n".join(lines) + "\n")
    faults = {}
    for place, folder in enumerate(left):
        if fault := said[place] if place < len(said) else ended:
            faults[folder] = fault
        else:
            (folder / _LOADED).touch()
    return faults


def _ask(lines: str) -> tuple[list[str], str]:
    """Return the answers, and what to say of networks without one."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN_PATHS}
    # On Windows, a folder cannot be removed while a process is in it.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as elsewhere:
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(_SCRIPT)],
                input=lines,
                cwd=elsewhere,
                # Other trainings may have the GPU.
                env={**inherited, "CUDA_VISIBLE_DEVICES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return [], f"the process that tries it cannot be used: {error}"
    return [json.loads(line) for line in done.stdout.splitlines()], f"the process ended with status {done.returncode}"
