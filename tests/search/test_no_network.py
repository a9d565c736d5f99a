"""Nothing is sent anywhere: a search, its report and MLflow's records, in processes that tell each use of a socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Loaded first by every Python process that finds it on its path. Audit hooks (PEP 578) cannot be removed.
GUARD = """
import os, socket, sys

LOOPBACK = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)

def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        # Sockets of a file name (AF_UNIX) stay on the machine.
        asked = address[0] if isinstance(address, tuple) else "localhost"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        asked = arguments[0]
    else:
        return
    asked = asked.decode() if isinstance(asked, bytes) else asked
    if asked not in LOOPBACK:
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{event} {asked} by {sys.argv}\\n")
        raise OSError("this test refuses all but the loopback")

sys.addaudithook(guard)
with open(os.environ["GUARDED"], "a") as file:
    file.write("guarded\\n")
"""
SPACE = "[shared]\nepochs = 2\nbatch_size = 16\n\n[feature_extraction]\n\n[partial]\nfreeze_depth = 3\n"


def run(root: Path, *command: str) -> str:
    """Run a command in a process, and in the processes that it starts, that may use the loopback only."""
    known = {"ASKED": str(root / "asked"), "GUARDED": str(root / "guarded"), "PYTHONPATH": f"{root}{os.pathsep}."}
    ended = subprocess.run(
        [sys.executable, *command], cwd=Path.cwd(), env=os.environ | known, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def asked(root: Path) -> list[str]:
    file = root / "asked"
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    return tmp_path


def test_the_guard_refuses_what_is_not_this_machine(guarded: Path) -> None:
    said = run(
        guarded,
        "-c",
        "import socket\n"
        "try:\n    socket.create_connection(('192.0.2.1', 80), 1)\n"
        "except OSError as error:\n    print(error)",
    )
    assert "refuses all but the loopback" in said
    assert any("192.0.2.1" in line for line in asked(guarded))


def test_a_search_and_its_report_talk_to_this_machine_only(guarded: Path) -> None:
    (guarded / "space.toml").write_text(SPACE)
    options = ["--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32", "--trials", "3"]
    options += ["--seeds", "1", "--name", "tiny", "--device", "cpu", "--workspace", str(guarded / "workspace")]
    frostline = ["-c", "from frostline.dashboards.cli import main; main()"]
    shutil.copy(Path(__file__).parents[1] / "backbones/tiny_network.py", guarded)
    run(guarded, *frostline, "search", "sklearn:digits[0-2]@60", "--space", str(guarded / "space.toml"), *options)
    run(guarded, *frostline, "report", "tiny", "--workspace", str(guarded / "workspace"))
    run(guarded, *frostline, "doctor", "tiny", "--workspace", str(guarded / "workspace"))
    # The search, its sender to MLflow and the readers were all guarded.
    assert len((guarded / "guarded").read_text().splitlines()) >= 4
    assert asked(guarded) == []
