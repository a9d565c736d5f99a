"""Files of weights that are refused."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from .rows import Make, Row, search, text


def weights(content: Any, name: str = "w.pt") -> Make:
    return lambda here: torch.save(content, here / name)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


def _tiny() -> dict[str, torch.Tensor]:
    return importlib.import_module("tiny_network").create().state_dict()


def _other_first_layer() -> dict[str, torch.Tensor]:
    tensors = _tiny()
    first = next(name for name, value in tensors.items() if value.ndim == 4)
    return tensors | {first: tensors[first][:, :1]}


def _changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Make:
    """A file of the network whose last tensor is not as the others are."""

    def make(here: Path) -> None:
        name, tensor = list(_tiny().items())[-1]
        torch.save(_tiny() | {name: change(tensor)}, here / "w.pt")

    return make


def _two_networks() -> dict[str, Any]:
    return {"one": _tiny(), "two": {name: value + 1 for name, value in _tiny().items()}}


WEIGHTS = {
    f"weights {name}": Row(
        ("search", "photos", "-b", "tiny_network:create", "--image-size", "32", "--trials", "5", "--weights", file),
        (file.removeprefix("~/"), *say),
        make,
    )
    for name, file, make, *say in (
        ("missing", "gone.pt", lambda _: None, "does not exist. Put it there, or name another with --weights"),
        ("missing, upper case", "GONE.PTH", lambda _: None, "does not exist"),
        ("missing in the home folder", "~/gone-for-ever.pt", lambda _: None, "does not exist"),
        ("of a user who is not there", "~nobody-here/w.pt", lambda _: None, "does not exist"),
        ("too long", "x" * 300 + ".pt", lambda _: None, "does not exist"),
        ("in a folder", "photos", lambda _: None, "are a folder"),
        ("empty", "w.pt", text("w.pt"), "cut off"),
        ("of text", "w.safetensors", text("w.safetensors", "hello"), "neither a safetensors file"),
        ("cut off", "w.pt", text("w.pt", b"PK\x03\x04abc"), "cannot be read"),
        ("of HTML", "w.pth", text("w.pth", "<html>404</html>"), "torch.save"),
        ("of no tensors", "w.pt", weights({"epoch": 3}), "epoch", "torch.save(model.state_dict()"),
        ("of a number", "w.pt", weights(3), "torch.save(model.state_dict()"),
        ("of a whole network", "w.pt", weights(nn.Linear(2, 2)), "whole object"),
        ("that run code", "w.pt", weights({"model": Evil()}), "cannot be read"),
        ("of another network", "w.pt", weights({"stem.weight": torch.zeros(3)}), "stem.weight"),
        ("of the optimizer alone", "w.pt", weights({"optimizer": {"lr": torch.zeros(1)}}), "lr"),
        (
            "of another first layer",
            "w.pt",
            lambda here: torch.save(_other_first_layer(), here / "w.pt"),
            "another shape",
        ),
        (
            "of two networks",
            "w.pt",
            lambda here: torch.save(_two_networks(), here / "w.pt"),
            "several networks",
            "'one'",
        ),
        ("of a sparse tensor", "w.pt", _changed(torch.Tensor.to_sparse), "tensor.to_dense()"),
        ("of a meta tensor", "w.pt", _changed(lambda tensor: tensor.to("meta")), "has no values"),
        ("of NaN", "w.pt", _changed(lambda tensor: tensor * torch.nan), "NaN or infinite values"),
        (
            "of another safetensors",
            "w.safetensors",
            lambda here: save_file({"x": torch.zeros(1)}, here / "w.safetensors"),
            "no tensor of this backbone",
        ),
    )
} | {
    "weights name unknown": search("--weights", "IMAGENET1K_V7", say=("IMAGENET1K_V7", "none")),
    "weights name empty": search("--weights", "", say=("none",)),
}
