"""One walk over a folder of images: what is in it, and what is passed over, by kind."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from ..errors import InvalidInputError
from .decoding import IMAGE_SUFFIXES, is_image_file

# Folders that programs put beside people's images: thumbnails, archives' leftovers, trash.
_HELPERS = frozenset(("@eadir", "@recycle", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "lost+found"))
# A folder that holds one of these is a workspace: its studies, or what :mod:`.image_cache` keeps there.
_WORKSPACE_MARKS = ("studies.db", "images/hashes")
# Files that may begin like an image and are none that a person put there: camera raw, whose TIFF part is a thumbnail,
# backups, and downloads that broke off.
_NO_IMAGES = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".dng", ".erf", ".iiq", ".kdc", ".nef", ".nrw", ".orf", ".pef", ".rw2", ".srw"),
        *(".bak", ".old", ".orig", ".tmp", ".part", ".partial", ".download", ".crdownload"),
    )
)
_LONGEST_SUFFIX = 12
_KINDS_SHOWN = 8


@dataclass(frozen=True)
class Folder:
    """A folder with everything below it.

    Attributes:
        path: Path of the folder.
        images: Images directly in it.
        folders: Folders directly in it, by name.
        passed_over: Number of other files and folders directly in it, by kind, in words: ``{s}`` stands for the
            plural.
    """

    path: Path
    images: tuple[Path, ...]
    folders: tuple[Folder, ...]
    passed_over: Mapping[str, int]

    @property
    def name(self) -> str:
        """Name of the folder, of which those that differ in Unicode form alone are one."""
        return unicodedata.normalize("NFC", self.path.name)

    @cached_property
    def every_image(self) -> tuple[Path, ...]:
        """Images at any depth."""
        return (*self.images, *(image for folder in self.folders for image in folder.every_image))

    @cached_property
    def filled(self) -> tuple[Folder, ...]:
        """Folders directly in it that hold images at any depth."""
        return tuple(folder for folder in self.folders if folder.every_image)

    def all_passed_over(self) -> Counter[str]:
        """What is passed over at any depth, by kind."""
        return sum((folder.all_passed_over() for folder in self.folders), Counter(self.passed_over))


def scan_folder(path: Path, also: frozenset[str] = frozenset(), above: frozenset[str] = frozenset()) -> Folder:
    """Walk a folder. Links are followed, but none back to a folder above it.

    Args:
        path: Folder to walk.
        also: Suffixes of files that are images too.
        above: Real paths of the folders above it.

    Raises:
        InvalidInputError: A folder cannot be read.
    """
    inside = above | {os.path.realpath(path)}
    images: list[Path] = []
    folders: list[Folder] = []
    passed_over: Counter[str] = Counter()
    for entry in _entries(path):
        if entry.is_dir():
            if kind := unwanted_folder(entry.name, partial(_holds, entry.path)):
                passed_over[kind] += 1
            elif os.path.realpath(entry.path) not in inside:
                folders.append(scan_folder(Path(entry.path), also, inside))
        elif entry.name.startswith("."):
            continue
        elif _is_image(entry, also):
            images.append(Path(entry.path))
        else:
            passed_over[kind_of_file(entry.name)] += 1
    return Folder(path, tuple(images), tuple(folders), passed_over)


def nearest_beside(missing: Path, suffixes: Collection[str] = ()) -> str:
    """A hint at the folder, or file with a suffix, beside a missing one that the user may have meant."""
    try:
        beside = [each.name for each in missing.parent.iterdir() if each.is_dir() or each.suffix.lower() in suffixes]
    except OSError:
        return ""
    near = difflib.get_close_matches(missing.name, beside, n=1)
    return f" Did you mean {readable(str(missing.parent / near[0]))}?" if near else ""


def describe_passed_over(kinds: Mapping[str, int]) -> str:
    """What was passed over, in words; empty if nothing was.

    >>> from frostline.objectives.data.scan import describe_passed_over
    >>> describe_passed_over({".txt file{s}": 12, "file{s} without a suffix": 1})
    'not taken as images: 12 .txt files, 1 file without a suffix'
    """
    if not kinds:
        return ""
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    said = [f"{count:,} {kind.replace('{s}', 's' * (count != 1))}" for kind, count in ordered[:_KINDS_SHOWN]]
    if more := sum(count for _, count in ordered[_KINDS_SHOWN:]):
        said.append(f"{more:,} of other kinds")
    return f"not taken as images: {', '.join(said)}"


def readable(name: str) -> str:
    r"""A name as it can be printed and stored: line breaks, control characters and bytes that are no UTF-8, escaped.

    >>> from frostline.objectives.data.scan import readable
    >>> readable("two\nlines"), readable("caf\udce9")
    ('two\\nlines', 'caf\\xe9')
    """
    letters = (letter if _is_plain(letter) else letter.encode("unicode_escape").decode() for letter in name)
    # Python stands for the byte E9 by the surrogate U+DCE9.
    return "".join(letters).replace("\\udc", "\\x")


def is_plain(name: str) -> bool:
    """Whether a name needs no escapes; see :func:`readable`."""
    return all(map(_is_plain, name))


def is_helper(name: str) -> bool:
    """Whether a folder of this name is none of the user's: hidden, or of a program."""
    return name.startswith(".") or name.lower() in _HELPERS


def unwanted_folder(name: str, holds: Callable[[str], bool]) -> str | None:
    """The kind of a folder that holds no images of the user's: hidden, of a program, or a workspace; else None.

    Args:
        name: Name of the folder.
        holds: Whether a path is in it.

    Example:
        >>> from frostline.objectives.data.scan import unwanted_folder
        >>> unwanted_folder("runs", {"studies.db", "models"}.__contains__)
        'workspace{s} runs'
    """
    if is_helper(name):
        return f"folder{{s}} {readable(name)}"
    return f"workspace{{s}} {readable(name)}" if any(map(holds, _WORKSPACE_MARKS)) else None


def has_image_suffix(name: str, also: frozenset[str] = frozenset()) -> bool:
    """Whether a file is an image by its name, or has one of other suffixes."""
    return _suffix(name) in IMAGE_SUFFIXES | also


def _is_plain(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read the folder {readable(str(folder))}: {error.strerror}. "
            "Give yourself access to it, or move it out of the dataset."
        ) from None


def _holds(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name))


def _is_image(entry: os.DirEntry[str], also: frozenset[str]) -> bool:
    """Whether an entry is an image by its name or, for other names, by its first bytes. A dangling link counts by its
    name, so that it is reported; a pipe does not, since reading it would hang.
    """
    suffix = _suffix(entry.name)
    if suffix in IMAGE_SUFFIXES or suffix in also:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    if suffix in _NO_IMAGES or entry.name.endswith("~"):
        return False
    return entry.is_file() and is_image_file(Path(entry.path))


def kind_of_file(name: str) -> str:
    """The kind of a file that is no image, in words: ``{s}`` stands for the plural."""
    suffix = _suffix(name)
    if not suffix:
        return "file{s} without a suffix"
    return (
        f"{suffix} file{{s}}" if suffix[1:].isalnum() and len(suffix) <= _LONGEST_SUFFIX else "file{s} of other kinds"
    )


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
