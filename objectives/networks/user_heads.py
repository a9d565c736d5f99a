"""Heads of the user's: ``my_module:function`` of the features' shape and the number of classes, whatever it builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..backbones import require_usable
from ..errors import InvalidInputError
from ..user_code import current_folder_last, find_function, function_source

_KIND = "Head"
# More than one image, so that an output of another shape is noticed.
_IMAGES = 2


def find_head(name: str) -> Callable[..., Any]:
    """Import the function of a head.

    Raises:
        InvalidInputError: There is none, its module raises, or it is no function.
    """
    return find_function(_KIND, name)


def head_source(name: str | None) -> str | None:
    """The name of a head's function with the digest of its code, for keys of what depends on it; None for none.

    Raises:
        InvalidInputError: See :func:`find_head`.
    """
    return None if name is None else function_source(_KIND, name)


def create_user_head(name: str, feature_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Build a head of the user's, and try it on features of zeros.

    Args:
        name: ``module:function``.
        feature_shape: Shape of one image's features.
        num_classes: Number of classes.

    Returns:
        What the function returns, in a ``nn.Sequential`` if it is none, in float32. Its weights come from torch's
        global generator, as far as the function draws from it; the trial on zeros draws nothing.

    Raises:
        InvalidInputError: The function cannot be imported or raises, returns no module or one without parameters, or
            the module gives no logits (N, num_classes).
    """
    function = find_head(name)
    asked = f"{_KIND} {name!r} with feature_shape={feature_shape} and num_classes={num_classes}"
    try:
        with current_folder_last():
            made = function(feature_shape, num_classes)
    # The user's code.
    except Exception as error:
        raise InvalidInputError(f"{asked} fails: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise InvalidInputError(f"{asked} returns a {type(made).__name__}, not a torch.nn.Module.")
    # A subclass may compute otherwise than its layers in a row.
    head = made if type(made) is nn.Sequential else nn.Sequential(made)
    _require_logits(head, asked, feature_shape, num_classes)
    require_usable(head, asked)
    if not any(parameter.requires_grad for parameter in head.parameters()):
        raise InvalidInputError(f"{asked} returns a module without parameters that train.")
    return head


def require_new_heads(name: str, feature_shape: tuple[int, ...], num_classes: int) -> None:
    """Build a head twice, and refuse a function that gives the same weights again: trials would share them.

    Raises:
        InvalidInputError: See :func:`create_user_head`; or the heads share parameters.
    """
    with torch.random.fork_rng(devices=[]):
        one, other = (create_user_head(name, feature_shape, num_classes) for _ in range(2))
    if {*map(id, one.parameters())} & {*map(id, other.parameters())}:
        raise InvalidInputError(f"{_KIND} {name!r} returns the same parameters again: make new ones in each call.")


def _require_logits(head: nn.Sequential, asked: str, feature_shape: tuple[int, ...], num_classes: int) -> None:
    training = [module for module in head.modules() if module.training]
    try:
        # The logits of zeros draw and change nothing: no random numbers, no statistics of batch norms.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            logits = head.eval()(torch.zeros(_IMAGES, *feature_shape))
    # The user's code.
    except Exception as error:
        raise InvalidInputError(
            f"{asked} returns a module that fails on features of zeros, shape {(_IMAGES, *feature_shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    for module in training:
        module.training = True
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (_IMAGES, num_classes):
        raise InvalidInputError(
            f"{asked} returns a module that maps features {(_IMAGES, *feature_shape)} to {shape}; logits "
            f"{(_IMAGES, num_classes)} are needed."
        )
