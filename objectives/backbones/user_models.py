"""Networks from a function of the user's: ``my_module:factory``, importable from the current folder too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InvalidInputError, unknown_name
from ..preprocessing import IMAGENET_MEAN, IMAGENET_STD, INTERPOLATIONS, MIN_IMAGE_SIZE, RGB, Preprocessing
from ..user_code import current_folder_last, find_object
from .usable import require_usable

# Preprocessing of most published weights.
_DEFAULT = Preprocessing(224, 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD)

# Value for factories without a default; Frostline's head replaces their classifier.
_NUM_CLASSES = 1000


@dataclass(frozen=True)
class FactoryModel:
    """A :class:`~frostline.objectives.backbones.model_sources.ModelSource` of the user's.

    The weights ``"DEFAULT"`` are those of the network that the factory returns. A factory may have an attribute
    ``preprocessing``: a dictionary with fields of :class:`~frostline.objectives.preprocessing.Preprocessing`, or one
    itself; but a module that imports Frostline cannot be loaded where Frostline is not installed.
    """

    name: str
    _factory: Callable[..., Any] = field(repr=False)

    @classmethod
    def find(cls, name: str) -> FactoryModel:
        """Import the factory.

        Raises:
            InvalidInputError: The module or function does not exist, its import fails, or it is not a factory.
        """
        factory = find_object("Backbone", name, "factory")
        if not callable(factory):
            raise InvalidInputError(f"{name} is a {type(factory).__name__}, not a function that returns a network.")
        needed = [key for key in _needed(factory) if key not in ("num_classes", "image_size", "in_channels")]
        if needed:
            raise InvalidInputError(
                f"{name} needs {', '.join(needed)}; a factory is called without arguments, or with num_classes, "
                "image_size and in_channels if it has them. Give the others defaults."
            )
        return cls(name, factory)

    @property
    def weights(self) -> tuple[str, ...]:
        return ("DEFAULT",)

    def preprocessing(self, weights: str) -> Preprocessing:
        own = getattr(self._factory, "preprocessing", _DEFAULT)
        return own if isinstance(own, Preprocessing) else _read_preprocessing(f"{self.name}.preprocessing", own)

    def size_rule(self) -> tuple[int, int]:
        return MIN_IMAGE_SIZE, 1

    def create(self, image_size: int, weights: str | None, channels: int = RGB) -> nn.Module:
        try:
            with current_folder_last():
                model = self._factory(**self.arguments(image_size, weights, channels))
        # The user's code.
        except Exception as error:
            raise InvalidInputError(f"{self.name} fails: {type(error).__name__}: {error}") from error
        if not isinstance(model, nn.Module):
            raise InvalidInputError(f"{self.name} returns a {type(model).__name__}, not a torch.nn.Module.")
        require_usable(model, self.name)
        if weights is None:
            _draw_weights(model, self.name)
        return model

    def arguments(self, image_size: int, weights: str | None, channels: int = RGB) -> dict[str, Any]:
        known = {"image_size": image_size} | ({} if channels == RGB else {"in_channels": channels})
        asked = {name: value for name, value in known.items() if name in _parameters(self._factory)}
        needed = {"num_classes": _NUM_CLASSES, "in_channels": channels}
        return asked | {name: value for name, value in needed.items() if name in _needed(self._factory)}

    def state(self, weights: str) -> Mapping[str, Tensor] | None:
        return None


def _read_preprocessing(name: str, given: object) -> Preprocessing:
    """Return the preprocessing of a dictionary; fields that it leaves out have their default.

    Raises:
        InvalidInputError: It is no dictionary, or has unknown fields or wrong values; the message names all.
    """
    known = [each.name for each in fields(Preprocessing)]
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"{name} is of type {type(given).__name__}; it must be a dictionary of {', '.join(known)}."
        )
    faults = [unknown_name(f"field of {name}", str(key), known) for key in given if key not in known]
    try:
        read = TypeAdapter(Preprocessing).validate_python(_defaults(given) | {**given})
    except ValidationError as error:
        faults += [f"{name}: {'.'.join(map(str, each['loc']))}: {each['msg']}." for each in error.errors()]
        raise InvalidInputError(faults) from None
    if faults := [*faults, *(f"{name}: {fault}" for fault in _faults(read))]:
        raise InvalidInputError(faults)
    return read


def _defaults(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields that a dictionary may leave out; the image side takes the resize with it."""
    size = given.get("image_size", _DEFAULT.image_size)
    scale = _DEFAULT.resize_size / _DEFAULT.image_size
    return asdict(_DEFAULT) | ({"resize_size": round(size * scale)} if isinstance(size, int) else {})


def _faults(read: Preprocessing) -> Iterator[str]:
    if read.image_size < MIN_IMAGE_SIZE:
        yield f"image_size {read.image_size} is below {MIN_IMAGE_SIZE}."
    if read.resize_size < read.image_size:
        yield f"resize_size {read.resize_size} is below image_size {read.image_size}."
    if read.interpolation not in INTERPOLATIONS:
        yield f"interpolation {read.interpolation!r} is none of {', '.join(INTERPOLATIONS)}."
    if len(read.mean) != len(read.std) or not read.mean:
        yield f"mean has {len(read.mean)} values and std {len(read.std)}: each needs one a channel."
    elif min(read.std) <= 0:
        yield f"std {list(read.std)} must be above 0."


def _draw_weights(model: nn.Module, name: str) -> None:
    """Draw all weights again, from the innermost modules outward: the factory may have loaded some."""
    stuck = []
    for path, module in reversed(list(model.named_modules())):
        # The weights of a parametrization are drawn with the module that it belongs to.
        if not isinstance(module, parametrize.ParametrizationList) and not _draws(module):
            stuck.append(f"{path or 'the root'} ({type(module).__name__})")
    if stuck:
        raise InvalidInputError(
            f"{name} cannot start from random weights: {', '.join(stuck[:8])} has parameters but no "
            "reset_parameters() that reaches them. Add that method, or leave out the strategy scratch (name the others "
            "with --strategy)."
        )


def _draws(module: nn.Module) -> bool:
    """Draw the weights of one module, not of those in it; returns False if it cannot."""
    reset: Any = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    parametrized = parametrize.is_parametrized(module)
    hooks: Any = module._forward_pre_hooks.values()
    # The older weight norm and spectral norm compute a weight from others, which a reset does not reach.
    computed = any(type(hook).__module__.startswith("torch.nn.utils.") for hook in hooks)
    if reset is None or computed:
        return not computed and not parametrized and not any(True for _ in module.parameters(recurse=False))
    if not parametrized:
        reset()
        return True
    try:
        with parametrize.cached(), torch.no_grad():
            drawn = {name: getattr(module, name) for name in module.parametrizations}  # pyright: ignore
            reset()
        for name, value in drawn.items():
            setattr(module, name, value)
    # A parametrization that not every weight has, such as an orthogonal one.
    except (NotImplementedError, RuntimeError, ValueError):
        return False
    return True


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return {}


def _needed(factory: Callable[..., Any]) -> list[str]:
    return [
        key
        for key, parameter in _parameters(factory).items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
