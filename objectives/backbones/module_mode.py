"""Modules whose forward reads ``self.training``: what that becomes in a graph.

A graph is traced once, in evaluation mode. Inside of the network, a module that reads its mode is kept whole, so that
it follows ``train()`` by itself. The network's own forward must be traced; there the mode becomes a value of the graph,
read at each run: ``F.dropout(x, 0.5, self.training)`` drops in training.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import CodeType, FunctionType
from typing import Any

from torch import nn


def reads_mode(kind: type[nn.Module]) -> bool:
    """Whether a method or property of a class reads ``training``, apart from ``train`` and ``eval``.

    >>> from torch import nn
    >>> from frostline.objectives.backbones.module_mode import reads_mode
    >>> reads_mode(nn.Dropout), reads_mode(nn.Linear)
    (True, False)
    """
    return any(_mentions(function.__code__) for function in _functions(kind))


def _functions(kind: type[nn.Module]) -> list[FunctionType]:
    own = (base for base in kind.__mro__ if base is not nn.Module)
    members = [value for base in own for name, value in vars(base).items() if name not in ("train", "eval")]
    functions = (member.fget if isinstance(member, property) else member for member in members)
    return [each for each in functions if isinstance(each, FunctionType)]


def _mentions(code: CodeType) -> bool:
    """Whether code, or a function or comprehension inside of it, names ``training``."""
    return "training" in code.co_names or any(_mentions(each) for each in code.co_consts if isinstance(each, CodeType))


def mode_readers(model: nn.Module, wrapped: Sequence[nn.Module]) -> dict[nn.Module, str]:
    """The root, and the only children below it, whose own forward reads the mode, with their names.

    Args:
        model: The network.
        wrapped: The chain of only children below it.
    """
    names = {module: name for name, module in model.named_modules()}
    own = (module for module in (model, *wrapped) if not type(module).__module__.startswith("torch.nn."))
    return {module: names[module] for module in own if reads_mode(type(module))}


def reads_other_modes(modules: Iterable[nn.Module]) -> bool:
    """Whether the code of some modules may read ``training`` of something other than ``self``."""
    return any(_of_others(function.__code__) for module in modules for function in _functions(type(module)))


def _of_others(code: CodeType) -> bool:
    inner = any(_of_others(each) for each in code.co_consts if isinstance(each, CodeType))
    return inner or any(
        now.opname.startswith("LOAD_ATTR") and now.argval == "training" and not _loads(before, code.co_varnames[:1])
        for before, now in pairwise(dis.get_instructions(code))
    )


def _loads(instruction: dis.Instruction, names: tuple[str, ...]) -> bool:
    """Whether an instruction loads, at last, the variable of a name."""
    value = instruction.argval
    return instruction.opname.startswith("LOAD_FAST") and (value[-1:] if type(value) is tuple else (value,)) == names


@contextmanager
def reading(modules: Mapping[nn.Module, str], mode: Callable[[str], Any]) -> Iterator[None]:
    """Context in which ``training`` of some modules is what a function says for their names."""
    kinds = {module: type(module) for module in modules}
    for module, name in modules.items():
        module.__class__ = _subclass(kinds[module], name, mode)
    try:
        yield
    finally:
        for module, kind in kinds.items():
            module.__class__ = kind


def _subclass(kind: type[nn.Module], name: str, mode: Callable[[str], Any]) -> type[nn.Module]:
    # A property comes before the attribute of the instance, which stays as it is.
    training = property(lambda module: mode(name), lambda module, value: vars(module).update(training=value))
    members = {"training": training, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), members)
