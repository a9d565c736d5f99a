"""An append-only file of lines that survives its deletion while it is open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path


class LineFile:
    """A file of lines, for one process.

    **Guarantees:**

    - A line that :meth:`append` returned from survives the end of the process; it is not flushed to the disk.
    - A file that others delete or replace is written again by the next call, with all its lines: the system keeps what
      is open.
    - :meth:`rewrite` is one step: a kill leaves the old file or the new one.

    Args:
        path: Path of the file; it and its folder are created with the first line.

    Attributes:
        size: Bytes of the complete lines.
        missing: Whether :meth:`recover` found no line: a power failure can leave an empty file.
        torn: Whether :meth:`recover` removed an incomplete last line.

    Raises:
        OSError: From all methods, if the file cannot be used.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from frostline.storage.tracking.line_file import LineFile
        >>> with TemporaryDirectory() as folder:
        ...     file = LineFile(Path(folder) / "lines.txt")
        ...     file.append(b"one\\n")
        ...     file.path.unlink()
        ...     file.append(b"two\\n")
        ...     file.close()
        ...     file.path.read_bytes()
        b'one\\ntwo\\n'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.missing = self.torn = False
        self._descriptor: int | None = None

    def recover(self) -> Iterator[bytes]:
        """Yield the lines of an earlier process, and remove an incomplete last one."""
        self.missing = True
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    self.torn = True
                    break
                self.size += len(line)
                self.missing = False
                yield line
        os.truncate(self.path, self.size)
        self.keep()

    def append(self, line: bytes) -> None:
        """Append a line, whole or not at all."""
        descriptor = self.keep()
        try:
            _write(descriptor, line)
        except OSError:
            # On a full disk, part of the line may have been written.
            os.ftruncate(descriptor, self.size)
            raise
        self.size += len(line)

    def read(self, position: int, most: int) -> list[bytes]:
        """Return complete lines from an offset on: those that begin within ``most`` bytes, and at least one."""
        descriptor = self.keep()
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(position)
            lines = file.readlines(min(self.size - position, most))
        ends = accumulate(map(len, lines), initial=position)
        next(ends)
        return [line for line, end in zip(lines, ends, strict=True) if end <= self.size]

    def rewrite(self, content: bytes) -> None:
        """Replace the file."""
        new = self.path.with_suffix(".new")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(content)
        new.replace(self.path)
        self.close()
        self.size = len(content)
        self.keep()

    def keep(self) -> int:
        """Return the descriptor of the open file, which is written again if it was deleted."""
        if self._descriptor is not None and not self._is_there(self._descriptor):
            self.rewrite(os.pread(self._descriptor, self.size, 0))
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        return self._descriptor

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False
        # A folder that cannot be read: what is open can be used.
        except OSError:
            return True


def _write(descriptor: int, line: bytes) -> None:
    rest = line
    while rest:
        rest = rest[os.write(descriptor, rest) :]
