"""Faults of disks: full, read-only or forbidden, for each kind of file; files torn by a power failure."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.fault_scene import Act, Scene

DISK_BYTES = 64 * 2**20
# In the second epoch of the second trial, when most kinds of files are there.
MIDST = (1, 1)
# Kinds of files by what a user calls them, their folder, and whether they are written before the first trial.
FOLDERS = {
    "decoded images": ("images", True),
    "features": ("features", True),
    "stages": ("stages", True),
    "locks": ("locks", True),
    "journal": ("journal", False),
    "checkpoints": ("checkpoints", False),
    "networks of finals": ("models", False),
    "files for MLflow": ("outgoing", False),
    "MLflow's artifacts": ("artifacts", False),
    "kept comparisons": ("comparisons", False),
    "report": ("reports", False),
}
TORN = {
    "journal": "journal/*.jsonl",
    "checkpoints": "checkpoints/*/*/*/latest",
    "features": "features/*.features",
    "stages": "stages/*.stage",
    "decoded images": "images/*/images.npy",
    "list of decoded images": "images/*/manifest.json",
    "splits": "images/*/splits-*.json",
    "hashes of images": "images/hashes/*.json",
}
# Linux: numbers of what lets root read and write everything, and of the calls that give it up.
_OVERRIDE_CAPABILITIES, _DROP_BOUNDING = (1, 2), 24
_CAPABILITIES_VERSION = 0x20080522


def may_mount(folder: Path) -> bool:
    """Whether this user may mount disks."""
    try:
        with small_disk(folder):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


@contextmanager
def small_disk(folder: Path, size: int = DISK_BYTES) -> Iterator[Path]:
    """A disk of its own at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def fill(disk: Path) -> None:
    """Leave no byte on a disk."""
    with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while file.write(bytes(2**16)):
            pass
    with suppress(OSError), (disk / "ballast2").open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            pass


def drain(disk: Path) -> None:
    for file in disk.glob("ballast*"):
        file.unlink()


def make_readonly(folder: Path) -> None:
    """What was opened before stays writable, as on a disk of which a part is mounted anew."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("--bind", folder, folder)
    _mount("-o", "remount,bind,ro", folder)


def obey_permissions() -> None:
    """Root gives up its right to read and write everything; others have none to give up."""
    if os.getuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in _OVERRIDE_CAPABILITIES:
        libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    left = ~sum(1 << capability for capability in _OVERRIDE_CAPABILITIES)
    for place in range(3):
        data[place] &= left & 0xFFFFFFFF
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def _moment(act: Act, at_once: bool) -> dict[str, Any]:
    return {"before": act} if at_once else {"at": {MIDST: act}}


def full(name: str, at_once: bool) -> Callable[[Scene], None]:
    """A disk of its own for a folder of the workspace is full."""

    def scenario(scene: Scene) -> None:
        scene.reports = name == "reports"
        disk = scene.cleanup.enter_context(small_disk(scene.root / name))
        scene.search(**_moment(lambda: fill(disk), at_once))
        drain(disk)

    return scenario


def readonly(name: str, at_once: bool) -> Callable[[Scene], None]:
    def scenario(scene: Scene) -> None:
        folder = scene.root / name
        scene.reports = name == "reports"
        scene.search(**_moment(lambda: make_readonly(folder), at_once))
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)

    return scenario


def forbidden(name: str, at_once: bool) -> Callable[[Scene], None]:
    def scenario(scene: Scene) -> None:
        folder = scene.root / name
        folder.mkdir(parents=True, exist_ok=True)
        scene.reports = name == "reports"

        def lock() -> None:
            folder.chmod(0)

        def before() -> None:
            obey_permissions()
            if at_once:
                lock()

        scene.search(before, {} if at_once else {MIDST: lock})
        folder.chmod(0o755)

    return scenario


def full_workspace(seconds: float | None) -> Callable[[Scene], None]:
    """All is on one disk, which is full until the end, or for some seconds."""

    def scenario(scene: Scene) -> None:
        disk = scene.cleanup.enter_context(small_disk(scene.root, 4 * DISK_BYTES))
        scene.furnish()

        def act() -> None:
            fill(disk)
            if seconds is not None:
                _later(seconds, lambda: drain(disk))

        scene.search(at={MIDST: act})
        drain(disk)

    return scenario


def _later(seconds: float, act: Callable[[], None]) -> None:
    """Do something in a process of its own, after some seconds."""
    if os.fork() == 0:
        import time

        time.sleep(seconds)
        act()
        os._exit(0)


def readonly_workspace(scene: Scene) -> None:
    scene.search(at={MIDST: lambda: make_readonly(scene.root)})
    subprocess.run(["umount", "--lazy", str(scene.root)], check=False, capture_output=True)


def forbidden_workspace(scene: Scene) -> None:
    scene.search(obey_permissions, {MIDST: lambda: scene.root.chmod(0)})
    scene.root.chmod(0o755)


def full_database(option: bool) -> Callable[[Scene], None]:
    """The studies' database, or MLflow's, is on a disk of its own."""

    def scenario(scene: Scene) -> None:
        disk = scene.cleanup.enter_context(small_disk(scene.folder / "disk"))
        if option:
            shutil.copy(scene.templates / "mlflow.db", disk)
            scene.more += ["--tracking-uri", f"sqlite:///{disk / 'mlflow.db'}"]
        else:
            scene.storage = f"sqlite:///{disk / 'studies.db'}"
        scene.search(at={MIDST: lambda: fill(disk)})
        drain(disk)

    return scenario


def readers(act: Callable[[Scene], None], restore: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """Commands that read, on a finished study whose workspace cannot be written."""

    def scenario(scene: Scene) -> None:
        scene.search()
        act(scene)
        for command in ("status", "report", "doctor", "resume"):
            scene.run(command, scene.name, before=obey_permissions)
        restore(scene)

    return scenario


def _unwritable(scene: Scene) -> None:
    for folder, _, files in os.walk(scene.root):
        for path in (Path(folder), *(Path(folder) / file for file in files)):
            path.chmod(path.stat().st_mode & ~0o222)


def _writable(scene: Scene) -> None:
    for folder, _, files in os.walk(scene.root):
        for path in (Path(folder), *(Path(folder) / file for file in files)):
            path.chmod(path.stat().st_mode | 0o200)


def limited(limit: int, soft: Callable[[], int]) -> Callable[[Scene], None]:
    """A limit of the process, from the middle on."""

    def scenario(scene: Scene) -> None:
        scene.search(at={MIDST: lambda: resource.setrlimit(limit, (soft(), resource.getrlimit(limit)[1]))})

    return scenario


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def torn(pattern: str, change: Callable[[bytes], bytes]) -> Callable[[Scene], None]:
    """The machine dies in a trial, and files that were being written come back as something else."""

    def scenario(scene: Scene) -> None:
        scene.search(at={(2, 2): lambda: os.kill(os.getpid(), signal.SIGKILL)})
        files = list(scene.root.glob(pattern))
        assert files, f"nothing is in {pattern}"
        for file in files:
            file.write_bytes(change(file.read_bytes()))

    return scenario


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(_: bytes) -> bytes:
    """The file has its name, and none of its content."""
    return b""


def zeros(content: bytes) -> bytes:
    """The file has its length, and blocks that were never written."""
    half = len(content) // 2
    return content[:half] + bytes(len(content) - half)


def remove(pattern: str) -> Callable[[Scene], None]:
    """What can be made again is deleted while a search runs."""

    def scenario(scene: Scene) -> None:
        def act() -> None:
            for path in scene.root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

        scene.search(at={MIDST: act})

    return scenario


make_unwritable, make_writable = _unwritable, _writable
