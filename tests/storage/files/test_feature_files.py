"""Features in files: whole or not there, computed once, whatever is killed or damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from frostline.storage.files.feature_files import FeatureFiles

DATA: NDArray[np.uint8] = np.arange(100_000, dtype=np.uint32).view(np.uint8)
FACTS = {"shape": [100, 1000], "dtype": "uint32", "seconds": 2.5}


def write(files: FeatureFiles, key: str) -> None:
    with files.lock(key), files.all_locked():
        assert files.write(key, FACTS, DATA)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.suffix != ".lock"}


def test_an_entry_comes_back_in_another_process_memory_mapped(tmp_path: Path):
    write(FeatureFiles(tmp_path), "ab")
    files = FeatureFiles(tmp_path)
    found = files.read("ab")
    assert found is not None
    facts, data = found
    assert isinstance(data, np.memmap)
    assert data.ctypes.data % 64 == 0
    np.testing.assert_array_equal(data, DATA)
    assert {name: facts[name] for name in FACTS} == FACTS
    ((size, seconds, idle),) = files.held().values()
    assert (size, seconds) == ((tmp_path / "ab.features").stat().st_size, 2.5)
    assert 0 <= idle < 60
    assert files.read("cd") is None


def forbid(folder: Path) -> None:
    """No lock of a folder can be opened, whoever asks; nor can a file be written under an entry's first name."""
    for name in ("all", *(f"{number:02d}" for number in range(64))):
        (folder / f"{name}.lock").unlink(missing_ok=True)
        (folder / f"{name}.lock").mkdir()
    for key in ("ab", "cd"):
        (folder / f"{key}.{os.getpid()}.partial").mkdir()


def test_a_folder_that_cannot_be_written_costs_its_entries_and_is_told_once(tmp_path: Path) -> None:
    write(FeatureFiles(tmp_path / "features"), "ab")
    forbid(tmp_path / "features")
    said: list[str] = []
    files = FeatureFiles(tmp_path / "features", note=said.append)
    with files.lock("cd"), files.all_locked():
        assert not files.write("cd", FACTS, DATA)
    found = files.read("ab")
    assert found is not None, "what was kept is read"
    np.testing.assert_array_equal(found[1], DATA)
    assert files.read("cd") is None
    assert files.free_bytes() > 0
    (message,) = said
    assert message.startswith(f"Is a directory: {tmp_path / 'features'}. The search goes on without the cache there")


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    files = FeatureFiles(tmp_path / "file/features", note=said.append)
    with files.lock("ab"), files.all_locked():
        assert not files.write("ab", FACTS, DATA)
    assert files.read("ab") is None
    assert (files.free_bytes(), files.held(), files.damaged(), len(said)) == (0, {}, [], 1)
    assert files.seconds_per_byte() == float("inf")


def test_an_error_of_the_work_under_a_lock_is_not_swallowed(tmp_path: Path) -> None:
    for unwritable in (False, True):
        files = FeatureFiles(tmp_path)
        if unwritable:
            forbid(tmp_path)
        with pytest.raises(PermissionError, match="own"), files.all_locked():
            raise PermissionError("own")


def flipped(place: int) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        return bytes(damaged)

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "magic": flipped(0),
    "length": flipped(9),
    "facts": flipped(40),
    "first byte of the data": lambda content: flipped(len(content) - len(DATA))(content),
    "last byte": flipped(-1),
    "truncated data": lambda content: content[:-1],
    "truncated facts": lambda content: content[:30],
    "truncated head": lambda content: content[:5],
    "longer": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "foreign": lambda content: b"PK\x03\x04" + bytes(1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_taken_out(tmp_path: Path, damage: str):
    write(FeatureFiles(tmp_path), "ab")
    file = tmp_path / "ab.features"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    files = FeatureFiles(tmp_path)
    assert files.read("ab") is None
    assert names(tmp_path) == set()
    write(files, "ab")
    assert files.read("ab") is not None


def test_an_entry_under_another_key_is_taken_out(tmp_path: Path):
    files = FeatureFiles(tmp_path)
    write(files, "ab")
    (tmp_path / "ab.features").rename(tmp_path / "cd.features")
    assert files.read("cd") is None
    assert names(tmp_path) == set()


def test_a_torn_header_is_no_entry(tmp_path: Path):
    (tmp_path / "ab.features").write_bytes(b"FROST")
    assert FeatureFiles(tmp_path).held() == {}
    assert names(tmp_path) == set()


def test_a_mapped_entry_outlives_its_removal(tmp_path: Path):
    files = FeatureFiles(tmp_path)
    write(files, "ab")
    found = files.read("ab")
    files.remove("ab")
    assert found is not None
    np.testing.assert_array_equal(found[1], DATA)
    assert files.read("ab") is None


def test_a_disk_that_takes_nothing_costs_no_more_than_the_entry(tmp_path: Path):
    files = FeatureFiles(tmp_path)
    (tmp_path / "ab.features").mkdir()  # in the way, also of root, who may write anywhere
    assert not files.write("ab", FACTS, DATA)
    assert names(tmp_path) == {"ab.features"}


def test_measuring_leaves_nothing_behind(tmp_path: Path):
    files = FeatureFiles(tmp_path)
    assert 1e-12 < files.seconds_per_byte() < 1e-5
    assert names(tmp_path) == set()


def start(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    preamble = (
        "import sys, time\nfrom pathlib import Path\nimport numpy as np\n"
        "from frostline.storage.files.feature_files import FeatureFiles\n"
        "folder = Path(sys.argv[1]); files = FeatureFiles(folder)\n"
    )
    command = [sys.executable, "-c", preamble + code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


_COMPUTE_ONCE = """
print("ready", flush=True); sys.stdin.readline()
with files.lock("ab"):
    if files.read("ab") is None:
        with open(folder.parent / "computed", "a") as marks: marks.write("x")
        time.sleep(0.3)
        with files.all_locked(): files.write("ab", {"seconds": 0.3}, np.full(5000, 7, np.uint8))
print(int(files.read("ab")[1].sum()), flush=True)
"""


def test_processes_that_need_the_same_entry_compute_it_once(tmp_path: Path):
    workers = [start(_COMPUTE_ONCE, tmp_path / "features") for _ in range(3)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    answers = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        answers.append(worker.communicate()[0])
        assert worker.returncode == 0
    assert answers == ["35000\n"] * 3
    assert (tmp_path / "computed").read_text() == "x"


# The data end in the middle of the write: the stream is told to stop there, and waits to be killed.
_WRITE_HALF = """
import frostline.storage.files.feature_files as module
def wait(self, target):
    with self.open("r+b") as stream: stream.truncate(self.stat().st_size // 2)
    print("writing", flush=True); sys.stdin.read()
module.Path.replace = wait
with files.lock("ab"), files.all_locked(): files.write("ab", {"seconds": 1.0}, np.zeros(10**6, np.uint8))
"""


def test_a_worker_killed_while_it_writes_leaves_a_usable_cache_without_litter(tmp_path: Path):
    files = FeatureFiles(tmp_path)
    write(files, "cd")
    for _ in range(2):
        with start(_WRITE_HALF, tmp_path) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "writing\n"
            # While it lives nobody clears away what it writes.
            FeatureFiles(tmp_path)
            assert names(tmp_path) == {"cd.features", f"ab.{worker.pid}.partial"}
            os.kill(worker.pid, signal.SIGKILL)
    assert files.read("ab") is None
    write(files, "ab")
    assert names(tmp_path) == {"ab.features", "cd.features"}
    assert FeatureFiles(tmp_path).read("ab") is not None
