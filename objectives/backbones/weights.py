"""Pretrained weights from untrusted files: tensors only, no pickled code, every mismatch named."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from ..errors import InvalidInputError

SUFFIXES = (".safetensors", ".pt", ".pth")

# First bytes of torch.save: a zip archive, or before torch 1.6 a pickle.
_TORCH_MAGIC = (b"PK\x03\x04", b"\x80\x02")

# Names in torchvision's older checkpoints (densenet, transformers), with today's names.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)

_NAMED_KEYS = 8


@dataclass(frozen=True)
class WeightsReport:
    """Result of loading weights, by names of tensors.

    Attributes:
        loaded: Tensors copied into the model.
        missing: Tensors of the model that the file lacks; they keep their random values.
        unexpected: Tensors of the file for parts that the model was built without (auxiliary classifiers).
        left_out: Tensors of the file's classifier, which has another shape than the model's.
        warning: Warning for the user: trailing units of the backbone that the file lacks; None without one.
    """

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    warning: str | None = None


def check_weights_file(path: Path) -> str | None:
    """Message about what is wrong with a weights file, judged by its first bytes; None if nothing is."""
    if path.suffix not in SUFFIXES:
        return f"Weights file {str(path)!r} must end in {', '.join(SUFFIXES)}."
    if not path.is_file():
        return f"Weights file {str(path)!r} does not exist."
    try:
        if path.suffix == ".safetensors":
            _metadata(path)
            return None
        with path.open("rb") as file:
            written_by_torch = file.read(4).startswith(_TORCH_MAGIC)
    except (SafetensorError, OSError) as error:
        return f"Weights file {str(path)!r} cannot be read: {error}."
    return None if written_by_torch else f"Weights file {str(path)!r} was not written by torch.save."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file or a torch state dict, under torchvision's present names.

    Wrappers (``{"state_dict": ...}``, ``{"model": ...}``) and the prefix ``module.`` of data-parallel training are
    removed.

    Raises:
        InvalidInputError: The file is missing or damaged, or holds something other than tensors.
    """
    if fault := check_weights_file(path):
        raise InvalidInputError(fault)
    try:
        content = _load(path)
    # Parsers raise almost anything on a foreign or damaged file.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInputError(
            f"Weights file {str(path)!r} cannot be read as tensors: {reason} "
            "Write it with torch.save(model.state_dict(), ...) or safetensors."
        ) from error
    return _as_state(content, path)


def load_weights(
    model: nn.Module,
    path: Path,
    classifier_prefixes: Collection[str],
    units: Mapping[str, Collection[str]] | None = None,
) -> WeightsReport:
    """Copy the weights of a file into a model; see :func:`fit_weights` for the arguments.

    Raises:
        InvalidInputError: See :func:`read_weights` and :func:`fit_weights`. If the file names the network that it is
            for, the message does too.
    """
    state = read_weights(path)
    try:
        return fit_weights(model, state, classifier_prefixes, units)
    except InvalidInputError as error:
        faults = [f"Weights file {str(path)!r}: {fault}" for fault in error.faults]
        arch = _metadata(path).get("arch") if path.suffix == ".safetensors" else None
        note = [f"The file says that it is for {arch!r}: use that backbone, or another file."] if arch else []
        raise InvalidInputError(faults + note) from error


def fit_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    classifier_prefixes: Collection[str],
    units: Mapping[str, Collection[str]] | None = None,
) -> WeightsReport:
    """Copy tensors into a model by name; float16 is cast to the model's dtype.

    The classifier may be absent or have another shape; the model then keeps its own. Auxiliary classifiers that the
    model was built without are ignored. Whole trailing units may be absent.

    Args:
        model: Model, changed in place.
        state: Tensors by name.
        classifier_prefixes: Names of the modules of the model's own classifier, e.g. ``["fc"]``, and of its parameters
            outside of modules.
        units: Names of the tensors of each backbone unit, in order from the input.

    Raises:
        InvalidInputError: Any other tensor is missing, unexpected or has another shape; the model is then unchanged.
    """
    state, target = _resize_positions(model, state), model.state_dict()
    roots = tuple(f"{prefix}." for prefix in classifier_prefixes)
    classifier = {name for name in state | target if f"{name}.".startswith(roots)}
    fits = all(name in state and name in target and state[name].shape == target[name].shape for name in classifier)
    left_out = set() if fits else classifier & state.keys()
    unexpected = {name for name in state.keys() - target.keys() if getattr(model, _top(name), ...) is None}
    offered = state.keys() - left_out - unexpected
    missing = target.keys() - offered
    lost = {name for name in missing - classifier if not name.endswith("num_batches_tracked")}
    absent = _trailing(units or {}, lost)
    faults = _faults(state, target, offered, set() if absent else lost)
    if faults:
        raise InvalidInputError(faults)
    with torch.no_grad():
        for name in offered:
            target[name].copy_(state[name])
    warning = f"not in the weights, so initialized at random: {', '.join(absent)}" if absent else None
    return WeightsReport(
        loaded=tuple(sorted(offered)),
        missing=tuple(sorted(missing)),
        unexpected=tuple(sorted(unexpected)),
        left_out=tuple(sorted(left_out)),
        warning=warning,
    )


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _as_state(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    is_state = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    if not is_state or not content:
        raise InvalidInputError(
            f"Weights file {str(path)!r} holds no state dict (names to tensors). "
            "Write it with torch.save(model.state_dict(), ...) or safetensors."
        )
    return rename(content)


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of today's torchvision, without the prefix ``module.``.

    >>> import torch
    >>> from frostline.objectives.backbones.weights import rename
    >>> list(rename({"module.denselayer1.norm.1.weight": torch.zeros(2)}))
    ['denselayer1.norm1.weight']
    """
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    renamed = {}
    for name, tensor in state.items():
        name = name.removeprefix(prefix)
        for old, new in _RENAMED:
            name = old.sub(new, name)
        renamed[name] = tensor
    return renamed


def _top(name: str) -> str:
    return name.split(".")[0]


def _resize_positions(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Interpolate position embeddings of a vision transformer to the model's number of patches."""
    state, name = dict(state), "encoder.pos_embedding"
    target = model.state_dict().get(name)
    if target is None or name not in state or state[name].shape == target.shape:
        return state
    state[name] = state[name].float()
    size: Any = model
    try:
        return dict(interpolate_embeddings(size.image_size, size.patch_size, state))  # pyright: ignore
    except ValueError:
        return state  # The patches form no square: reported later as a tensor of another shape.


def _trailing(units: Mapping[str, Collection[str]], lost: Collection[str]) -> list[str]:
    """The last units, if the lost tensors are exactly theirs; else nothing."""
    names = list(units)
    for first in range(len(names) - 1, 0, -1):
        held = {key for name in names[first:] for key in units[name] if not key.endswith("num_batches_tracked")}
        if held == set(lost):
            return names[first:]
    return []


def _faults(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], offered: Collection[str], lost: Collection[str]
) -> list[str]:
    common = [name for name in offered if name in target]
    if not common:
        return [f"has no tensor of this backbone; it holds {_listed(state)}, the backbone {_listed(lost)}."]
    reshaped = [
        f"{name} {tuple(state[name].shape)} for {tuple(target[name].shape)}"
        for name in common
        if state[name].shape != target[name].shape
    ]
    foreign = [name for name in offered if name not in target]
    kinds = {"missing": lost, "unexpected": foreign, "of another shape": reshaped}
    return [f"tensors {kind}: {_listed(names)}." for kind, names in kinds.items() if names]


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:_NAMED_KEYS]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more} ({len(names)} in all)"
