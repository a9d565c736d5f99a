"""ZIP and TAR files of class folders, as the ``imagefolder`` of ``datasets`` takes them, read where they are.

Nothing is unpacked under a name of the archive's, so no name can lead anywhere; one that tries is refused. A compressed
TAR file is unpacked, when its images are read, into one file without a name, which vanishes with the process.
"""

from __future__ import annotations

import gzip
import mmap
import os
import shutil
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ..errors import InvalidInputError
from .folders import list_scanned
from .layouts import split_named
from .listing import Embedded, Listing
from .scan import Folder, has_image_suffix, kind_of_file, nearest_beside, readable, unwanted_folder

_GZIP = (".tar.gz", ".tgz")
ARCHIVE_SUFFIXES = (".zip", ".tar", *_GZIP)
# Larger contents are no images, and would fill the memory.
_MAX_IMAGE_BYTES = 512 * 2**20
# What an archive may unpack to: so many times its size, or so many bytes.
_MOST_TIMES, _MOST_BYTES = 100, 2**30
_DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)

Parts = tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    """A file in an archive: its name there, where it begins, and its unpacked bytes."""

    name: str
    start: int
    size: int


class _Archive(Protocol):
    def members(self) -> Iterator[_Member]:
        """The files, with their sizes as the archive declares them."""
        ...

    def read(self, member: _Member) -> bytes: ...


def list_archive(source: str, scratch: Path, *, nested: bool = False, also: frozenset[str] = frozenset()) -> Listing:
    """List the images of an archive; see :func:`list_source`.

    Args:
        source: ZIP or TAR file; TAR may be compressed by gzip.
        scratch: Folder where a compressed TAR file is unpacked.
        nested: Whether each folder that holds images is a class.
        also: Suffixes of files that are images too.

    Raises:
        InvalidInputError: The archive is missing, damaged, encrypted, unpacks to over 100 times its size and 1 GiB, has
            names that lead outside, or has another layout.
    """
    file = Path(os.path.expanduser(source))
    shown = readable(str(file))
    if not os.path.isfile(file):
        meant = nearest_beside(file, ARCHIVE_SUFFIXES)
        raise InvalidInputError(f"No such file: {shown}.{meant} Name a ZIP or TAR file of class folders.")
    try:
        archive = _opened(file, scratch)
        members = _checked(archive, file)
    except _DAMAGES as error:
        raise InvalidInputError(f"{shown} is not a whole archive: {error}. Pack the folder again.") from None
    except OSError as error:
        raise InvalidInputError(f"Cannot read {shown}: {error.strerror or error}.") from None

    def content(path: Path) -> Embedded:
        return Embedded(file, partial(_read, archive, members[path.relative_to(file).parts]))

    name = next(file.name[: -len(suffix)] for suffix in ARCHIVE_SUFFIXES if file.name.lower().endswith(suffix))
    return list_scanned(name, _below_wrapper(_arrange(file, sorted(members), also)), content, nested=nested)


class _Zip:
    def __init__(self, file: Path) -> None:
        # Threads may read it at once: it locks what they share.
        self._archive = zipfile.ZipFile(file)
        self._shown = readable(str(file))

    def members(self) -> Iterator[_Member]:
        for place, info in enumerate(self._archive.infolist()):
            if info.flag_bits & 1:
                raise InvalidInputError(f"{self._shown} is encrypted. Unpack it, and name the folder.")
            if not info.is_dir():
                # Some programs for Windows write its separators.
                yield _Member(info.filename.replace("\\", "/"), place, info.file_size)

    def read(self, member: _Member) -> bytes:
        return self._archive.read(self._archive.infolist()[member.start])


class _Tar:
    def __init__(self, file: Path) -> None:
        self._file = file

    def members(self) -> Iterator[_Member]:
        with tarfile.open(self._file, "r:") as archive:
            yield from _tar_members(archive)

    def read(self, member: _Member) -> bytes:
        with self._file.open("rb") as stream:
            stream.seek(member.start)
            return stream.read(member.size)


class _GzippedTar:
    def __init__(self, file: Path, scratch: Path) -> None:
        self._file, self._scratch = file, scratch
        self._unpacking = threading.Lock()
        self._unpacked: mmap.mmap | None = None

    def members(self) -> Iterator[_Member]:
        with _Gunzip(self._file) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            yield from _tar_members(archive)

    def read(self, member: _Member) -> bytes:
        with self._unpacking:
            self._unpacked = unpacked = self._unpacked or self._unpack()
        return unpacked[member.start : member.start + member.size]

    def _unpack(self) -> mmap.mmap:
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._scratch) as copy, _Gunzip(self._file) as stream:
                shutil.copyfileobj(stream, copy, 2**20)
                copy.flush()
                return mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InvalidInputError(
                f"Cannot unpack {readable(str(self._file))} in {self._scratch}: {error.strerror or error}. Free space "
                "there."
            ) from error


class _Gunzip(gzip.GzipFile):
    """What a compressed file unpacks to, up to the limit, and never much at once: headers of TAR may claim any size.

    Args:
        file: Compressed file.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file, "rb")
        self._path, self._most = file, _most_bytes(file)

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() + max(0, size or 0) > self._most:
            raise _too_large(self._path)
        return super().read(size)


def _opened(file: Path, scratch: Path) -> _Archive:
    name = file.name.lower()
    if name.endswith(".zip"):
        return _Zip(file)
    return _GzippedTar(file, scratch) if name.endswith(_GZIP) else _Tar(file)


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        # Links and devices are none of its images.
        if info.isreg() and not info.issparse():
            yield _Member(info.name, info.offset_data, info.size)


def _checked(archive: _Archive, file: Path) -> Mapping[Parts, _Member]:
    """The members by the parts of their names, none of which leads outside."""
    found: dict[Parts, _Member] = {}
    most, total = _most_bytes(file), 0
    for member in archive.members():
        total += member.size
        if total > most:
            raise _too_large(file)
        parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
        if member.name.startswith("/") or ".." in parts:
            raise InvalidInputError(
                f"{readable(str(file))} has the file '{readable(member.name)}', whose name leads outside of it. Pack "
                "the folder again, from where it is."
            )
        found[parts] = member
    return found


def _read(archive: _Archive, member: _Member) -> bytes:
    """The bytes of a member.

    Raises:
        OSError: It is damaged, or too large to be an image.
    """
    if member.size > _MAX_IMAGE_BYTES:
        raise OSError(f"larger than {_MAX_IMAGE_BYTES // 2**20} MiB")
    try:
        content = archive.read(member)
    except _DAMAGES as error:
        raise OSError(str(error)) from error
    if len(content) != member.size:
        raise OSError("the archive ends in the middle of it")
    return content


def _arrange(path: Path, names: Sequence[Parts], also: frozenset[str]) -> Folder:
    """The tree of folders that sorted names make."""
    images: list[Path] = []
    passed_over: Counter[str] = Counter()
    below: dict[str, list[Parts]] = {}
    for first, *rest in names:
        if rest:
            below.setdefault(first, []).append(tuple(rest))
        elif has_image_suffix(first, also) and not first.startswith("."):
            images.append(path / first)
        elif not first.startswith("."):
            passed_over[kind_of_file(first)] += 1
    folders: list[Folder] = []
    for name, inside in below.items():
        if kind := unwanted_folder(name, partial(_holds, inside)):
            passed_over[kind] += 1
        else:
            folders.append(_arrange(path / name, inside, also))
    return Folder(path, tuple(images), tuple(folders), passed_over)


def _holds(names: Sequence[Parts], path: str) -> bool:
    parts = tuple(path.split("/"))
    return any(name[: len(parts)] == parts for name in names)


def _below_wrapper(folder: Folder) -> Folder:
    """The folder that was packed, where the archive has that one alone: ``photos.zip`` of ``photos/cat`` and
    ``photos/dog``.
    """
    if len(folder.filled) != 1 or split_named(folder.filled[0].name):
        return folder
    (inner,) = folder.filled
    return _below_wrapper(inner) if inner.filled else folder


def _most_bytes(file: Path) -> int:
    return max(_MOST_TIMES * file.stat().st_size, _MOST_BYTES)


def _too_large(file: Path) -> InvalidInputError:
    return InvalidInputError(
        f"{readable(str(file))} unpacks to over {_MOST_TIMES} times its size ({_most_bytes(file) / 2**30:.0f} GiB), as "
        "no archive of photos does. If you trust it, unpack it, and name the folder."
    )
