"""Pretrained weights: which tensors of a file are a network's, and every mismatch named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from ..errors import InvalidInputError
from ..preprocessing import RGB
from .first_layer import fit_first_layers
from .weights_files import listed, network_named_in, read_mappings

# Names in torchvision's older checkpoints (densenet, transformers), with today's names.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)

# Where trainers keep the weights that they would have others use, before copies such as a moving average.
_USUAL = ("", "state_dict", "model", "model_state_dict", "net", "network", "weights", "params")


@dataclass(frozen=True)
class WeightsReport:
    """Result of loading weights, by names of tensors.

    Attributes:
        loaded: Tensors copied into the model.
        missing: Tensors of the model that the file lacks; they keep their random values.
        unexpected: Tensors of the file for parts that the model was built without (auxiliary classifiers).
        left_out: Tensors of the file's classifier, which has another shape than the model's.
        adapted: Tensors for color that were fitted to another number of channels.
        warning: Warning for the user: trailing units of the backbone that the file lacks, or other weights in the file
            that fit too; None without one.
    """

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    warning: str | None = None


def load_weights(
    model: nn.Module,
    path: Path,
    classifier_prefixes: Collection[str],
    units: Mapping[str, Collection[str]] | None = None,
    channels: int = RGB,
) -> WeightsReport:
    """Copy the weights of a file into a model; see :func:`fit_weights` for the arguments.

    Raises:
        InvalidInputError: See :func:`~frostline.objectives.backbones.weights_files.read_mappings`,
            :func:`choose_state` and :func:`fit_weights`. If the file names the network that it is for, the message does
            too.
    """
    mappings = read_mappings(path)
    try:
        state, note = choose_state(_needed(model, classifier_prefixes), mappings)
        report = fit_weights(model, state, classifier_prefixes, units, channels)
    except InvalidInputError as error:
        faults = [f"Weights file {str(path)!r}: {fault}" for fault in error.faults]
        if len(mappings) > 1:
            faults.append(f"It holds tensors at {listed(repr(where or 'the top') for where in mappings)}.")
        if arch := network_named_in(path):
            faults.append(f"The file says that it is for {arch!r}: use that backbone, or another file.")
        raise InvalidInputError(faults) from error
    warning = "; ".join(filter(None, (report.warning, note)))
    return replace(report, warning=warning or None)


def choose_state(
    needed: Mapping[str, torch.Size], mappings: Mapping[str, Mapping[str, Tensor]]
) -> tuple[dict[str, Tensor], str | None]:
    """Choose the tensors of a file that are a network's, and strip what is common before their names.

    Args:
        needed: Shapes of the tensors of the backbone, without its classifier, by name.
        mappings: Tensors by name, by where they are in the file.

    Returns:
        The tensors under the network's names, and a note if the file has other ones that fit too.

    Raises:
        InvalidInputError: Several fit, and none of them is where trainers keep the weights.

    Example:
        >>> import torch
        >>> from frostline.objectives.backbones.weights import choose_state
        >>> kept = {"model": {"module.conv.weight": torch.zeros(2)}, "optimizer": {"lr": torch.zeros(1)}}
        >>> list(choose_state({"conv.weight": torch.Size([2])}, kept)[0])
        ['conv.weight']
    """
    renamed = {where: rename(found) for where, found in mappings.items()}
    held = {(where, prefix): held for where, found in renamed.items() for prefix, held in _held(found, needed).items()}
    most = max(held.values(), default=(0, 0))
    fitting = sorted((place for place, counts in held.items() if counts == most), key=_rank)
    if not fitting or (most[0] < len(needed) / 2 and fitting[0][1]):
        # Those of another network: the caller names what differs.
        return max(renamed.values(), key=len), None
    (where, _), *others = fitting
    chosen, *states = (_below(prefix, renamed[inside]) for inside, prefix in fitting)
    rivals = [place for place, state in zip(others, states, strict=True) if _differ(chosen, state, needed)]
    if rivals and (where not in _USUAL or any(inside == where for inside, _ in rivals)):
        raise InvalidInputError(
            f"has several networks that fit: {', '.join(map(_in_words, [fitting[0], *rivals]))}. "
            "Write the one that you mean into a file of its own."
        )
    also = ", ".join(map(_in_words, rivals))
    taken = f"the weights are those of {_in_words(fitting[0])} in their file, which also has {also}"
    return chosen, taken if rivals else None


def _held(state: Mapping[str, Tensor], needed: Mapping[str, torch.Size]) -> dict[str, tuple[int, int]]:
    """How many of the needed tensors a mapping has after each prefix of its names, and how many of their shape."""
    names, shapes = Counter[str](), Counter[str]()
    for name, tensor in state.items():
        for start in _starts(name):
            if name[start:] in needed:
                names[name[:start]] += 1
                shapes[name[:start]] += tensor.shape == needed[name[start:]]
    return {prefix: (count, shapes[prefix]) for prefix, count in names.items()}


def _starts(name: str) -> list[int]:
    """Where the name, or what follows one of its dots, begins."""
    return [0, *(place + 1 for place, letter in enumerate(name) if letter == ".")]


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below a prefix; the others belong to parts that the network does not have."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _rank(place: tuple[str, str]) -> int:
    return _USUAL.index(place[0]) if place[0] in _USUAL else len(_USUAL)


def _differ(one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: Iterable[str]) -> bool:
    pairs = ((one[name], other[name]) for name in names if name in one and name in other)
    return any(
        bool(_unusable(first) or _unusable(second)) or first.dtype != second.dtype or not torch.equal(first, second)
        for first, second in pairs
    )


def _in_words(place: tuple[str, str]) -> str:
    where, prefix = place
    return repr(".".join(filter(None, (where, prefix.removesuffix(".")))) or "the top")


def _needed(model: nn.Module, classifier_prefixes: Collection[str]) -> dict[str, torch.Size]:
    roots = tuple(f"{prefix}." for prefix in classifier_prefixes)
    return {
        name: tensor.shape
        for name, tensor in model.state_dict().items()
        if not f"{name}.".startswith(roots) and not name.endswith("num_batches_tracked")
    }


def fit_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    classifier_prefixes: Collection[str],
    units: Mapping[str, Collection[str]] | None = None,
    channels: int = RGB,
) -> WeightsReport:
    """Copy tensors into a model by name; float16 is cast to the model's dtype.

    The classifier may be absent or have another shape; the model then keeps its own. Auxiliary classifiers that the
    model was built without are ignored. Whole trailing units may be absent. The first layer of a network for color is
    fitted to a model for another number of channels (:mod:`.first_layer`).

    Args:
        model: Model, changed in place.
        state: Tensors by name.
        classifier_prefixes: Names of the modules of the model's own classifier, e.g. ``["fc"]``, and of its parameters
            outside of modules.
        units: Names of the tensors of each backbone unit, in order from the input.
        channels: Number of channels of the images that the model takes.

    Raises:
        InvalidInputError: Any other tensor is missing, unexpected or has another shape, or a tensor has no numbers that
            a network can use; the model is then unchanged.
    """
    target = model.state_dict()
    if faults := [f"{name} {fault}" for name in state if name in target and (fault := _unusable(state[name]))]:
        raise InvalidInputError(faults[0])
    state, adapted = fit_first_layers(model, _resize_positions(model, state), channels)
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
    # As the model will hold them: what fits a larger type may be infinite in its own.
    for name in (name for name in state if name in offered):
        if not bool(state[name].to(target[name].dtype).isfinite().all()):
            raise InvalidInputError(
                f"{name} has NaN or infinite values, from which no training starts. Name another file, such as an "
                "earlier checkpoint."
            )
    with torch.no_grad():
        for name in offered:
            target[name].copy_(state[name])
    warning = f"not in the weights, so initialized at random: {', '.join(absent)}" if absent else None
    return WeightsReport(
        loaded=tuple(sorted(offered)),
        missing=tuple(sorted(missing)),
        unexpected=tuple(sorted(unexpected)),
        left_out=tuple(sorted(left_out)),
        adapted=adapted,
        warning=warning,
    )


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of today's torchvision.

    >>> import torch
    >>> from frostline.objectives.backbones.weights import rename
    >>> list(rename({"denselayer1.norm.1.weight": torch.zeros(2)}))
    ['denselayer1.norm1.weight']
    """
    renamed = {}
    for name, tensor in state.items():
        for old, new in _RENAMED:
            name = old.sub(new, name)
        renamed[name] = tensor
    return renamed


def _unusable(tensor: Tensor) -> str | None:
    """What to say of a tensor that is not stored as plain numbers; None of others."""
    if tensor.is_meta:
        return "has no values: it is a meta tensor. Write the file again from the network whose weights are loaded."
    if tensor.layout != torch.strided:
        return "is a sparse tensor. Save it dense: tensor.to_dense()"
    return "is a quantized tensor. Save it as plain numbers: tensor.dequantize()" if tensor.is_quantized else None


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
        return [f"has no tensor of this backbone; it holds {listed(state)}, the backbone {listed(lost)}."]
    reshaped = [
        f"{name} {tuple(state[name].shape)} for {tuple(target[name].shape)}"
        for name in common
        if state[name].shape != target[name].shape
    ]
    foreign = [name for name in offered if name not in target]
    kinds = {"missing": lost, "unexpected": foreign, "of another shape": reshaped}
    return [f"tensors {kind}: {listed(names)}." for kind, names in kinds.items() if names]
