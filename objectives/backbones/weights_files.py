"""Files of weights as trainers write them, judged by their bytes: tensors only, and no code of a file ever runs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InvalidInputError

# Endings by which an argument is taken for a file that does not exist; what a file is, its bytes tell.
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")

# First bytes of torch.save: a zip archive, or before torch 1.6 a pickle.
_TORCH_MAGIC = (b"PK\x03\x04", b"\x80\x02")

# Depth to which mappings in mappings are searched for weights.
_DEEPEST = 6
_NAMES_SHOWN = 8

_ADVICE = "Write the weights alone: torch.save(model.state_dict(), ...), or safetensors."


class _Inert:
    """Stands for every object of a file that is no tensor, whatever its class: it is made of nothing and does nothing,
    so that reading the file imports no module of it and runs none of its code.
    """

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


class _Dict:
    """Stands for the subclasses of dict that trainers save, of which the weights may be an entry."""

    def __new__(cls, *_: object) -> Any:
        return {}


_DICTS = frozenset(
    (
        "collections.defaultdict",
        "lightning_fabric.utilities.data.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    )
)


def is_weights_file(text: str) -> bool:
    """Whether an argument names a file of weights, which may not exist.

    >>> from frostline.objectives.backbones.weights_files import is_weights_file
    >>> is_weights_file("model_best.PTH.TAR"), is_weights_file("~/weights"), is_weights_file("IMAGENET1K_V1")
    (True, True, False)
    """
    return text.lower().endswith(SUFFIXES) or os.sep in text or os.path.exists(text)


def weights_path(text: str) -> Path:
    """The path that an argument means; ``~`` is the home folder."""
    return Path(os.path.expanduser(text))


def check_weights_file(path: Path) -> str | None:
    """Message about what is wrong with a weights file, judged by its first bytes; None if nothing is."""
    if os.path.isdir(path):
        return f"Weights {str(path)!r} are a folder. Name the file in it."
    if not os.path.isfile(path):
        return f"Weights file {str(path)!r} does not exist. Put it there, or name another with --weights."
    try:
        if _by_torch(path):
            return None
        with safe_open(path, framework="pt"):
            return None
    except OSError as error:
        return f"Weights file {str(path)!r} cannot be read: {error.strerror or error}."
    except SafetensorError as error:
        reason = f": {error}" if path.suffix.lower() == ".safetensors" else ""
        return (
            f"Weights file {str(path)!r} is neither a safetensors file nor one of torch.save, or it is cut off{reason}."
        )


def read_mappings(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read the mappings from names to tensors of a file.

    Args:
        path: File of safetensors or torch.

    Returns:
        The tensors of each mapping by name; the mappings by where they are in the file, from the outermost:
        ``""``, ``"model"``, ``"teacher.state_dict"``.

    Raises:
        InvalidInputError: The file is missing or damaged, or holds no tensors by name; with the names that it holds.
    """
    if fault := check_weights_file(path):
        raise InvalidInputError(fault)
    try:
        content = _load(path) if _by_torch(path) else safetensors.torch.load_file(path)
    # Parsers raise almost anything on a foreign or damaged file.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInputError(
            f"Weights file {str(path)!r} cannot be read as tensors: {reason.rstrip('.')}. {_ADVICE}"
        ) from error
    found = {
        where: tensors
        for where, held in _mappings(content)
        if (tensors := {name: value for name, value in held.items() if isinstance(value, Tensor)})
    }
    if not found:
        raise InvalidInputError(
            f"Weights file {str(path)!r} holds no state dict (names to tensors){_held(content)}. {_ADVICE}"
        )
    return found


def network_named_in(path: Path) -> str | None:
    """The network that a safetensors file says it is for; None if it says none."""
    if _by_torch(path):
        return None
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("arch")


def _by_torch(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(_TORCH_MAGIC)


def _load(path: Path) -> Any:
    """Read a file of torch: its tensors, and what else is in it as inert objects."""
    # An open file: torch would judge a path by its ending.
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
        file.seek(0)
        # Of files before torch 1.6, only those with nothing but tensors can be read.
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(file) if zipped else []
        file.seek(0)
        inert: list[Any] = [(_Dict if name in _DICTS else _Inert, name) for name in foreign]
        # torch warns of how it reads sparse and quantized tensors, which is nothing to act on.
        with torch.serialization.safe_globals(inert), warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)


def _mappings(content: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is under names in a file, and in each mapping of it, by where the mapping is."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    yield where, named
    for name, value in named.items():
        yield from _mappings(value, _inside(where, name), depth + 1)


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _held(content: Any) -> str:
    """What a file holds instead of tensors by name; of mappings in mappings, the names on the way to it."""
    if isinstance(content, Mapping) and content:
        searched = dict(_mappings(content))
        every = (_inside(where, name) for where, named in searched.items() for name in named)
        names = [name for name in every if not searched.get(name)]
        return f" but {listed(names or map(str, content))}"
    return " but a whole object" if isinstance(content, _Inert) else ""


def listed(names: Any) -> str:
    """The first of some names, sorted, and how many there are."""
    every = sorted(names)
    more = f" and {len(every) - _NAMES_SHOWN} more" if len(every) > _NAMES_SHOWN else ""
    return f"{', '.join(every[:_NAMES_SHOWN])}{more} ({len(every)} in all)"
