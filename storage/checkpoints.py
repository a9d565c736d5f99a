"""Checkpoints of trainings under way: two generations a training, each written whole, with a checksum.

Every worker that carries a training writes to a folder of its own, by the token of its lease: one that was thought
dead and comes back cannot touch what its successor wrote.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from .errors import StorageError

# Seconds to the first checkpoint of a training, and from one to the next, at least; and the share of the time that
# checkpoints may take: after a slow one, the next waits longer.
INTERVAL = float(os.environ.get("FROSTLINE_CHECKPOINT_SECONDS", "5"))
SHARE = 0.1
_DIGEST = hashlib.sha256().digest_size


class CheckpointFolder:
    """The checkpoints of one training. A training that is over before the first is due writes none.

    Args:
        folder: Of this training alone; made with the first checkpoint.
        token: Of the lease; larger with each worker.
    """

    def __init__(self, folder: Path, token: int = 0) -> None:
        self._training = folder
        self._folder = folder / str(token)
        self._due = time.monotonic() + INTERVAL

    def save(self, state: Callable[[], bytes], *, now: bool = False) -> None:
        """Keep a state if the last one is old enough; the one before it stays beside it.

        Args:
            state: Makes it.
            now: However old the last one is: the training is about to be cut off.

        Raises:
            StorageError: It cannot be written.
        """
        began = time.monotonic()
        if began < self._due and not now:
            return
        try:
            self._write(state())
        except OSError as error:
            raise StorageError(
                f"No checkpoint can be written to {self._folder} ({error.strerror}). Make room there; go on with: "
                "frostline resume"
            ) from None
        ended = time.monotonic()
        self._due = ended + max(INTERVAL, (ended - began) / SHARE)

    def load(self) -> bytes | None:
        """The latest state that is whole, of whichever worker; None if there is none."""
        for file in self._files():
            if (content := _whole(file)) is not None:
                return content
        return None

    def damaged(self) -> list[Path]:
        """Files that are not whole, of whichever worker."""
        return [file for file in self._files() if _whole(file) is None]

    def remove(self) -> None:
        """The training is over."""
        shutil.rmtree(self._training, ignore_errors=True)

    def _workers(self) -> list[Path]:
        """Folders of the workers that wrote something, the latest first."""
        return sorted(self._training.glob("[0-9]*"), key=lambda folder: int(folder.name), reverse=True)

    def _files(self) -> list[Path]:
        """States, the latest first."""
        files = (worker / name for worker in self._workers() for name in ("latest", "previous"))
        return [file for file in files if file.exists()]

    @property
    def _latest(self) -> Path:
        return self._folder / "latest"

    def _write(self, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / "part"
        with part.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if self._latest.exists():
            self._latest.replace(self._folder / "previous")
            # With two of our own, those of earlier workers are not needed.
            for older in self._workers():
                if int(older.name) < int(self._folder.name):
                    shutil.rmtree(older, ignore_errors=True)
        part.replace(self._latest)


def _whole(file: Path) -> bytes | None:
    """The state in a file, if its checksum fits."""
    content = file.read_bytes()
    return content[_DIGEST:] if content[:_DIGEST] == hashlib.sha256(content[_DIGEST:]).digest() else None
