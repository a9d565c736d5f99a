"""A torch.fx tracer with known shapes.

Every value carries its result for two batch sizes, as fake tensors without data; for the second, only where somebody
asks for a size. A size that is equal for both is a plain number, so control flow and arithmetic on it run as usual; a
size that differs stays symbolic.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg
from torch.fx.proxy import Proxy, TraceError

from .measures import Measurer
from .module_mode import reads_mode
from .shape_mode import ShapeMode
from .trace_notes import first_line

# Two batch sizes, odd and above 1, so that the batch dimension is not mistaken for another of 1 or 2 rows.
BATCHES = (3, 5)

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class _SizedProxy(Proxy):
    """A value of the graph whose sizes are plain numbers, except those that depend on the batch size."""

    tracer: SizedTracer

    @property
    def shape(self) -> Any:
        values = self.tracer.tensors(self.node)
        if values is None:
            return self.__getattr__("shape")
        pairs = zip(*(value.shape for value in values), strict=True)
        return tuple(one if one == other else self._size(index) for index, (one, other) in enumerate(pairs))

    def _size(self, index: int) -> Proxy:
        return self.tracer.create_proxy("call_method", "size", (self, index), {})

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    @property
    def ndim(self) -> Any:
        value = self.tracer.values.get(self.node)
        return value.ndim if isinstance(value, torch.Tensor) else self.__getattr__("ndim")

    def dim(self) -> Any:
        return self.ndim

    def __len__(self) -> int:
        length = self._length()
        return super().__len__() if length is None else length

    def __iter__(self) -> Iterator[Proxy]:
        length = self._length()
        if length is None:
            raise TraceError("a value of unknown length is iterated over")
        return (self[index] for index in range(length))  # pyright: ignore[reportIndexIssue]

    def _length(self) -> int | None:
        """Length of a sequence or of a first dimension; None if it depends on the batch size or is unknown."""
        one, other = self.tracer.pair(self.node) or (None, None)
        if isinstance(one, torch.Tensor | tuple | list) and len(one) == len(other):  # pyright: ignore[reportArgumentType]
            return len(one)
        return None


class SizedTracer(fx.Tracer):
    """Traces into all modules except layers of torch.nn and their subclasses, modules that read their mode, and
    ``whole``.

    Args:
        shape: Shape of an image (C, S, S).
        whole: Modules not to trace into.
        forward: Function to trace instead of the root's forward.
        followed: Modules that are traced although they read their mode, which is then a value of the graph, with their
            names; see :mod:`~frostline.objectives.backbones.module_mode`.
        training: The mode in which control flow on that value is traced.

    Attributes:
        values: Values of the nodes for the first batch size, where they can be computed without data.
        measurer: Measures of the first batch size.
        unsized: Reasons why values could not be computed without data, by name of the first such nodes.
        unmeasured: The first such reason for the first batch size; empty if all was measured.
        failed: The innermost module in which tracing failed.
        branches_on_mode: Whether control flow depended on the mode of a followed module.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        whole: Collection[nn.Module],
        forward: Callable[..., Any] | None,
        followed: Mapping[nn.Module, str] | None = None,
        *,
        training: bool = False,
    ) -> None:
        super().__init__()
        self._shape, self._whole, self._forward = shape, {*whole}, forward
        self._followed, self._training = followed or {}, training
        self.branches_on_mode = False
        self._fake = ShapeMode()
        self._computing = False
        self.values: dict[fx.Node, Any] = {}
        self._others: dict[fx.Node, Any] = {}
        # Nodes whose value for the second batch size nobody has asked for.
        self._waiting: list[fx.Node] = []
        self.measurer = Measurer()
        self.unsized: dict[str, str] = {}
        self.unmeasured = ""
        self.failed: nn.Module | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if m in self._followed:
            return False
        known = m in self._whole or reads_mode(type(m)) or _is_layer(m)
        return known or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The first parameter is the image; the others keep their defaults."""
        name = list(inspect.signature(root_fn).parameters)[1]
        return self._forward or root_fn, [self.root, self.create_proxy("placeholder", name, (), {})]

    def proxy(self, node: fx.Node) -> Proxy:
        return _SizedProxy(node, self)

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> Any:
        proxy = super().create_proxy(kind, target, *args, **kwargs)
        node = proxy.node
        self._compute(node, 0, self.values)
        if node not in self.values:
            return proxy
        self._waiting.append(node)
        value = self.values[node]
        if target is operator.getitem and _is_sizes(value) and self._is_equal(node):
            return value  # Sizes that a module returns beside its tensor.
        node.meta["is_batch_size"] = type(value) is int and self.pair(node) == BATCHES
        return proxy

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._computing:
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        # The code of any network; raised again.
        except Exception:
            if self.failed is None and m in (self.submodule_paths or {}) and m not in self._whole:
                self.failed = m
            raise

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def mode(self, name: str) -> Any:
        """The mode of a followed module, as a value of the graph."""
        if self._computing:
            return self._training
        return self.create_proxy("get_attr", f"{name}.training".lstrip("."), (), {})

    def to_bool(self, obj: Proxy) -> bool:
        if self._is_fixed(obj.node):
            self.branches_on_mode |= _depends_on_mode(obj.node)
            return bool(self.values[obj.node])
        return super().to_bool(obj)

    def pair(self, node: fx.Node) -> tuple[Any, Any] | None:
        """The values of a node for both batch sizes; None if one is unknown."""
        # In order: operations may write to what earlier ones gave.
        for each in self._waiting:
            self._compute(each, 1, self._others)
        self._waiting.clear()
        known = node in self.values and node in self._others
        return (self.values[node], self._others[node]) if known else None

    def tensors(self, node: fx.Node) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The two fake tensors of a node; None if its value is not a tensor or unknown."""
        if not isinstance(self.values.get(node), torch.Tensor):
            return None
        pair = self.pair(node)
        return pair if pair is not None and isinstance(pair[1], torch.Tensor) else None

    def _is_equal(self, node: fx.Node) -> bool:
        pair = self.pair(node)
        return pair is not None and pair[0] == pair[1]

    def _is_fixed(self, node: fx.Node) -> bool:
        """Whether a value follows from sizes, types and devices that do not depend on the batch size."""
        value = self.values.get(node)
        if not isinstance(value, bool | int | float | str | torch.dtype | torch.device) or not self._is_equal(node):
            return False
        return all(self.tensors(source) or self._is_fixed(source) for source in node.all_input_nodes)

    def _compute(self, node: fx.Node, which: int, values: dict[fx.Node, Any]) -> None:
        """Add the value of a node for one of the batch sizes, if it can be computed without data."""
        self._computing = True
        try:
            with torch.no_grad(), self._fake:
                if which == 0:
                    values[node] = self.measurer.run(node, lambda: self._value(node, which, values))
                else:
                    values[node] = self._value(node, which, values)
        # Any operation of any network, on fake tensors: what cannot be computed is not a constant.
        except Exception as error:
            # Values that follow from an unknown one are unknown too.
            if all(source.op == "get_attr" or source in values for source in node.all_input_nodes):
                self.unsized[str(node.target)] = first_line(error)
            if which == 0:
                self.unmeasured = self.unmeasured or first_line(error)
        finally:
            self._computing = False

    def _value(self, node: fx.Node, which: int, values: dict[fx.Node, Any]) -> Any:
        if node.op == "placeholder":
            return torch.empty(BATCHES[which], *self._shape)
        target: Any = node.target
        if node.op == "get_attr":
            return operator.attrgetter(target)(self.root)
        args, kwargs = map_arg((node.args, node.kwargs), lambda source: self._known(source, which, values))
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        if node.op == "call_module":
            return self.root.get_submodule(target)(*args, **kwargs)
        return target(*args, **kwargs)

    def _known(self, source: fx.Node, which: int, values: dict[fx.Node, Any]) -> Any:
        # fx creates the nodes of constants itself.
        return self._value(source, which, values) if source.op == "get_attr" else values[source]


def is_mode(node: fx.Node) -> bool:
    """Whether a node reads the mode of a followed module."""
    return node.op == "get_attr" and str(node.target).rpartition(".")[2] == "training"


def _depends_on_mode(node: fx.Node) -> bool:
    return is_mode(node) or any(map(_depends_on_mode, node.all_input_nodes))


def _is_sizes(value: Any) -> bool:
    return all(type(each) is int for each in (value if isinstance(value, tuple | list) else [value]))


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is a layer of torch.nn with its own forward, such as a convolution that computes its padding."""
    bases = [base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules.")]
    return len(bases) > 1 and not isinstance(module, _CONTAINERS) and not list(module.children())
