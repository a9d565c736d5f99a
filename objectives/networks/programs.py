"""Networks as programs that run without their Python code: ``torch.export`` and ONNX, for any number of images."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..errors import InvalidInputError, ObjectiveError

# Version of ONNX's operators; 18 is the first that torch's exporter writes without conversion.
OPSET = 18
OUTPUT = "logits"
_ONNX_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
# A file of ONNX holds less than 2 GiB; larger weights go into a file beside it.
_MAX_ONNX_BYTES = 2**31 - 2**26


class NotExportedError(ObjectiveError):
    """A network cannot be written in a format; the message is the reason, in one line."""


def make_program(network: nn.Module, example: Tensor) -> ExportedProgram:
    """Trace a network into a program for any number of images.

    Args:
        network: Network in evaluation mode.
        example: Two or more inputs of the network (N, ...): their shape and type become those of the program.

    Raises:
        NotExportedError: ``torch.export`` cannot trace the network, such as one whose control flow depends on the data.
    """
    with _one_line_reasons():
        return torch.export.export(network, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))


def write_program(program: ExportedProgram, file: Path) -> nn.Module:
    """Write a program, read it back and return it: ``torch.export.load(file).module()``.

    Raises:
        NotExportedError: The program cannot be written.
    """
    with _one_line_reasons():
        torch.export.save(program, file)
        return torch.export.load(file).module()


def missing_onnx_libraries() -> list[str]:
    """Names of the libraries that :func:`write_onnx` needs and this machine lacks."""
    return [name for name in _ONNX_LIBRARIES if find_spec(name) is None]


def write_onnx(program: ExportedProgram, file: Path, input_name: str, metadata: Mapping[str, str]) -> OnnxNetwork:
    """Write a program as ONNX, read it back in ONNX Runtime and return it.

    Args:
        program: Program of :func:`make_program`.
        file: File to write.
        input_name: Name of the input; the output is ``logits``.
        metadata: What the file says about the network.

    Raises:
        NotExportedError: An operation has no counterpart in ONNX, or ONNX Runtime cannot read the file.
        InvalidInputError: The libraries are missing.
    """
    if missing := missing_onnx_libraries():
        raise InvalidInputError(f"ONNX needs {', '.join(missing)}: pip install 'frostline[onnx]'")
    weights = sum(value.nbytes for value in program.state_dict.values())
    with _one_line_reasons():
        written: Any = torch.onnx.export(
            program,
            (),
            dynamo=True,
            dynamic_shapes=({0: "batch"},),
            input_names=[input_name],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
        written.model.metadata_props.update(metadata)
        written.save(file, external_data=weights > _MAX_ONNX_BYTES)
        return OnnxNetwork(file)


class OnnxNetwork:
    """A network in ONNX Runtime, on the CPU.

    Args:
        file: File of the network, with one input.
    """

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Only errors: it warns of what it optimizes.
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of inputs (N, ...)."""
        (logits,) = self._session.run(None, {self._input: images.numpy()})
        return torch.from_numpy(logits)


@contextmanager
def _one_line_reasons() -> Iterator[None]:
    """Run an exporter quietly, and turn its errors, of many classes, into one."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Of the exporters' own code.
            warnings.simplefilter("ignore")
            yield
    except (InvalidInputError, MemoryError, OSError):
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise NotExportedError(f"{type(error).__name__}: {reason.strip()}") from error
    finally:
        logging.disable(before)
