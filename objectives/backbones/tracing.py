"""Traces of networks (torch.fx), with tensor sizes known during tracing.

Plain symbolic tracing fails where a forward asks for the size of its input; the shape tracer answers. A module that
still cannot be traced (its control flow depends on the data) is kept whole; only if that is the root itself must the
network be a chain of its children.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from ..errors import InvalidInputError
from ..preprocessing import RGB
from .input_faults import cannot_take_images
from .measures import countable_attention
from .module_mode import mode_readers, reading, reads_other_modes
from .shape_tracer import SizedTracer, is_mode
from .trace_notes import TraceNotes, first_line, keep_notes

# Why a graph does not follow a mode that it was traced with.
_BRANCHES = "a graph has no branches, and it branches on a mode or reads that of another module"


def trace(model: nn.Module, image_size: int, channels: int = RGB) -> fx.GraphModule:
    """Trace a model; the graph shares modules, parameters and buffers with the model.

    Each node records the modules that it was traced in (:func:`~frostline.objectives.backbones.cuts.module_path`);
    nodes whose value is the batch size have the mark ``is_batch_size``, and all have measures
    (:mod:`~frostline.objectives.backbones.measures`) where these need no data. What could not be traced is in the
    trace's notes (:func:`~frostline.objectives.backbones.trace_notes.notes_of`).

    Args:
        model: Network from images (N, channels, image_size, image_size) to one tensor.
        image_size: Side of the images, pixels; the graph holds for this size only.
        channels: Number of channels of the images.

    Raises:
        InvalidInputError: The model can neither be traced nor is it a chain of its children, it takes more than images,
            or it does not return one tensor; with the reason.

    Example:
        >>> from torch import nn
        >>> from frostline.objectives.backbones.tracing import trace
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> [node.name for node in trace(model, 8).graph.nodes]
        ['input_1', '_0', '_1', 'output']
    """
    _check_inputs(model)
    shape = (channels, image_size, image_size)
    with _in_mode(model, training=False), countable_attention():
        try:
            graph, notes = _trace(model, shape)
        # The code of any network. _trace_chain() raises this error if it cannot help.
        except Exception as error:
            graph, notes = _trace_chain(model, shape, error)
            notes.chain = first_line(error)
            if mode_readers(model, _unwrap(model)[0]):
                notes.mode = "it runs as a chain of its children"
    (result,) = next(iter(reversed(graph.nodes))).args
    if not isinstance(result, fx.Node):
        kind = type(result).__name__.removeprefix("immutable_")
        raise InvalidInputError(
            f"{_name(model)} returns a {kind}, not one tensor. Wrap it in a module that returns one."
        )
    traced = fx.GraphModule(model, graph, type(model).__name__).train(model.training)
    keep_notes(traced, notes)
    return traced


def _trace(
    model: nn.Module, shape: tuple[int, ...], forward: Callable[..., Any] | None = None
) -> tuple[fx.Graph, TraceNotes]:
    """Trace with one more module kept whole each time, until it succeeds; raises if the root or its only child
    fails, whether their mode is followed or not.
    """
    whole: dict[nn.Module, str] = {}
    wrapped, _ = _unwrap(model)
    followed, mode = {} if forward else mode_readers(model, wrapped), ""
    while True:
        tracer = SizedTracer(shape, whole, forward, followed)
        try:
            graph = _traced(model, tracer, followed)
        # The code of any network: the module that raised is kept whole, and an error outside of one is raised again.
        except Exception as error:
            if tracer.failed is not None and tracer.failed not in wrapped:
                whole[tracer.failed] = first_line(error)
            elif followed:
                followed, mode = {}, f"a graph cannot hold how it uses self.training ({first_line(error)})"
            else:
                raise
        else:
            _drop_unused(graph)
            kept = {name: whole[module] for name, module in model.named_modules() if module in whole}
            unsized = {each: why for each, why in tracer.unsized.items() if each not in kept}
            tracer.measurer.keep()
            if tracer.branches_on_mode or reads_other_modes(followed):
                mode = "" if _is_same_in_training(model, graph, shape, whole, followed) else _BRANCHES
            return graph, TraceNotes(kept, unsized, real_data=tracer.unmeasured, mode=mode)


def _traced(model: nn.Module, tracer: SizedTracer, followed: Mapping[nn.Module, str]) -> fx.Graph:
    with _keeping_attributes(model), reading(followed, tracer.mode):
        return tracer.trace(model)


def _is_same_in_training(
    model: nn.Module,
    graph: fx.Graph,
    shape: tuple[int, ...],
    whole: Collection[nn.Module],
    followed: Mapping[nn.Module, str],
) -> bool:
    """Whether a trace in training mode gives the same graph; nothing of the model changes."""
    tracer = SizedTracer(shape, whole, None, followed, training=True)
    # Batch norms count batches even of fake tensors.
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with _in_mode(model, training=True), torch.random.fork_rng(devices=[]):
            other = _traced(model, tracer, followed)
    # The code of any network.
    except Exception:
        return False
    finally:
        for buffer, value in before:
            buffer.copy_(value)
    _drop_unused(other)
    return str(other) == str(graph)


@contextmanager
def _keeping_attributes(model: nn.Module) -> Iterator[None]:
    """Undo the attributes that forwards set while they are traced; only the graph's constants stay."""
    before = {module: {name: _copy(value) for name, value in vars(module).items()} for module in model.modules()}
    try:
        yield
    finally:
        for module, attributes in before.items():
            constants = {name: value for name, value in vars(module).items() if name.startswith("_tensor_constant")}
            vars(module).clear()
            vars(module).update(constants | attributes)


def _copy(value: Any) -> Any:
    return copy.copy(value) if type(value) in (dict, list, set) else value


def _drop_unused(graph: fx.Graph) -> None:
    """Drop sizes and modes that control flow alone has read."""
    for node in reversed(graph.nodes):
        is_size = node.op == "call_method" and node.target == "size"
        if not node.users and (is_size or is_mode(node)):
            graph.erase_node(node)


def _trace_chain(model: nn.Module, shape: tuple[int, ...], reason: Exception) -> tuple[fx.Graph, TraceNotes]:
    _, links = _unwrap(model)
    if len(links) < 2 or not _is_chain(model, links, shape):
        raise InvalidInputError(
            f"{_name(model)} cannot be cut: torch.fx cannot trace its forward ({first_line(reason)}), and its "
            "top-level children in order do not give its output. Move code that depends on the data into its own "
            "module (modules that cannot be traced are kept whole), or make the children a chain."
        ) from reason
    return _trace(model, shape, lambda root, x: _apply(links, x))


def _unwrap(model: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The chain of only children below the root, and the children of the last of them."""
    wrapped, links = [], list(model.children())
    while len(links) == 1 and list(links[0].children()):
        wrapped.append(links[0])
        links = list(links[0].children())
    return wrapped, links


@torch.no_grad()
def _is_chain(model: nn.Module, links: Sequence[nn.Module], shape: tuple[int, ...]) -> bool:
    """Whether modules run in order give exactly the model's output, on noise of several scales in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, *shape, generator=generator)
    for images in (noise, -noise, 100 * noise, 0 * noise):
        expected = _output(model, images)
        try:
            given = _apply(links, images.clone())
        # Modules of any network, in an order that may not be theirs.
        except Exception:
            return False
        if not (isinstance(given, torch.Tensor) and torch.equal(given, expected)):
            return False
    return True


def _output(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    channels, size = images.shape[1:3]
    try:
        output = model(images.clone())
    # The code of any network.
    except Exception as error:
        raise cannot_take_images(_name(model), model, size, error, channels) from error
    if not isinstance(output, torch.Tensor):
        raise InvalidInputError(
            f"{_name(model)} returns a {type(output).__name__}, not one tensor. Wrap it in a module that returns one."
        )
    return output


def _apply(links: Sequence[nn.Module], x: Any) -> Any:
    for link in links:
        x = link(x)
    return x


@contextmanager
def _in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _check_inputs(model: nn.Module) -> None:
    parameters = list(inspect.signature(type(model).forward).parameters.values())[1:]
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(needed) > 1 or not parameters:
        raise InvalidInputError(
            f"The forward of {_name(model)} takes {', '.join(needed) or 'nothing'}; a backbone takes images alone. "
            "Wrap it in a module whose forward supplies the rest."
        )


def _name(model: nn.Module) -> str:
    return type(model).__name__
