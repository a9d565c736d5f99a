"""Parameters that a network wants no weight decay for, by its own word."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase

from torch import nn

from ..errors import InvalidInputError


def undecayed_parameters(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that a network exempts from weight decay.

    timm's networks say so by ``no_weight_decay()``, a collection of names or patterns (``pos_embed.*``): position
    embeddings, class tokens, tables of relative positions. A network of the user's may have that method too, or hold a
    module that has it.

    Raises:
        InvalidInputError: A ``no_weight_decay()`` fails, or does not return names.

    Example:
        >>> from torch import nn
        >>> from frostline.objectives.backbones.undecayed import undecayed_parameters
        >>> class Tokens(nn.Linear):
        ...     def no_weight_decay(self):
        ...         return {"weight"}
        >>> sorted(undecayed_parameters(nn.Sequential(Tokens(2, 2), nn.Linear(2, 2))))
        ['0.weight']
    """
    asked: list[str] = []
    exempt: set[str] = set()
    for path, module in model.named_modules():
        own = getattr(module, "no_weight_decay", None)
        # An outer module speaks for those in it.
        if not callable(own) or any(_is_within(path, outer) for outer in asked):
            continue
        asked.append(path)
        patterns = _patterns(own, type(module).__name__)
        names = (name for name, _ in module.named_parameters())
        exempt |= {f"{path}.{name}".lstrip(".") for name in names if any(fnmatchcase(name, each) for each in patterns)}
    return frozenset(exempt)


def _is_within(path: str, outer: str) -> bool:
    return not outer or path.startswith(f"{outer}.")


def _patterns(own: Callable[[], object], module: str) -> Collection[str]:
    try:
        found = own()
    # The code of any network.
    except Exception as error:
        raise InvalidInputError(f"no_weight_decay() of {module} fails: {type(error).__name__}: {error}") from error
    if not isinstance(found, Collection) or isinstance(found, str) or not all(isinstance(each, str) for each in found):
        raise InvalidInputError(
            f"no_weight_decay() of {module} returns {found!r}; it must return the names of the parameters to exempt."
        )
    return found
