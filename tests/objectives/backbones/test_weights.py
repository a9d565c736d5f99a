from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import pathlib
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from frostline.objectives.backbones.backbone import create_backbone
from frostline.objectives.backbones.weights import load_weights, rename
from frostline.objectives.backbones.weights_files import is_weights_file, read_mappings
from frostline.objectives.config import BackboneSpec
from frostline.objectives.errors import InvalidInputError

UNITS = {"a": ["a.weight", "a.bias"], "b": ["b.weight", "b.bias", "b.num_batches_tracked"]}


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.b = nn.Linear(2, 2)
        self.b.register_buffer("num_batches_tracked", torch.tensor(0))
        self.aux = None
        self.fc = nn.Linear(2, classes)


def state(classes: int = 3) -> dict[str, Tensor]:
    return {name: torch.full_like(value, 7) for name, value in Net(classes).state_dict().items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def load(path: Path, content: dict[str, Tensor], model: nn.Module | None = None, **metadata: str):
    save_file(content, path, metadata)
    return load_weights(model or Net(), path, ["fc"], UNITS)


def test_everything_loads(path: Path) -> None:
    model = Net()
    report = load(path, state(), model)
    assert set(report.loaded) == set(state())
    assert (report.missing, report.unexpected, report.left_out, report.warning) == ((), (), (), None)
    assert all(bool((value == 7).all()) for value in model.state_dict().values())


def test_float16_is_cast_up(path: Path) -> None:
    model = Net()
    load(path, {name: value.half() for name, value in state().items()}, model)
    assert model.a.weight.dtype == torch.float32
    assert bool((model.a.weight == 7).all())


def test_backbone_only(path: Path) -> None:
    report = load(path, {name: value for name, value in state().items() if not name.startswith("fc")})
    assert report.missing == ("fc.bias", "fc.weight")
    assert report.left_out == ()


@pytest.mark.parametrize("extra", [state(classes=5), {**state(), "fc.0.weight": torch.zeros(1)}])
def test_a_classifier_of_another_shape_is_left_out(path: Path, extra: dict[str, Tensor]) -> None:
    model = Net()
    before = model.fc.weight.clone()
    report = load(path, extra, model)
    assert {"fc.weight", "fc.bias"} <= set(report.left_out)
    assert report.missing == ("fc.bias", "fc.weight")
    assert torch.equal(model.fc.weight, before)


def test_auxiliary_classifiers_and_batch_counts_do_not_matter(path: Path) -> None:
    content = {**state(), "aux.weight": torch.zeros(1)}
    del content["b.num_batches_tracked"]
    report = load(path, content)
    assert report.unexpected == ("aux.weight",)
    assert report.missing == ("b.num_batches_tracked",)


def test_a_missing_last_unit_is_a_warning(path: Path) -> None:
    report = load(path, {name: value for name, value in state().items() if name.startswith("a")})
    assert report.warning == "not in the weights, so initialized at random: b"


@pytest.mark.parametrize(
    ("drop", "add", "message"),
    [
        ("b.bias", {}, r"missing: b.bias \(1 in all\)"),
        ("a", {}, r"missing: a.bias, a.weight \(2 in all\)"),
        ("-", {"c.weight": torch.zeros(1)}, "unexpected: c.weight"),
        ("-", {"a.weight": torch.zeros(4, 2)}, r"another shape: a.weight \(4, 2\) for \(2, 2\)"),
    ],
)
def test_misfits_are_named_and_nothing_is_loaded(path: Path, drop: str, add: dict[str, Tensor], message: str) -> None:
    model = Net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    content = {name: value for name, value in state().items() if not name.startswith(drop)} | add
    with pytest.raises(InvalidInputError, match=message):
        load(path, content, model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_another_network_is_named(path: Path) -> None:
    many = {f"stem.{index}.weight": torch.zeros(1) for index in range(20)}
    with pytest.raises(InvalidInputError, match=r"no tensor of this backbone.*12 more") as caught:
        load(path, many, arch="toynet")
    assert str(path) in caught.value.faults[0]
    assert caught.value.faults[1] == "The file says that it is for 'toynet': use that backbone, or another file."


# Files as trainers write them


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


PREFIXES = [
    "",
    *("module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder.", "module._orig_mod.", "_orig_mod.module."),
    *("module.module.", "model.backbone.", "module.encoder_q.", "a.", "b.a."),
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "wrapper", ["", "state_dict", "model", "model_state_dict", "net", "checkpoint.model_weights", "a.b.c.d"]
)
def test_the_weights_are_found_wherever_they_are(tmp_path: Path, wrapper: str, prefix: str) -> None:
    content: dict[str, Any] = prefixed(prefix, state())
    for name in reversed(wrapper.split(".") if wrapper else []):
        content = {name: content, "epoch": 3, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}}
    torch.save(content, tmp_path / "w.pth")
    model = Net()
    report = load_weights(model, tmp_path / "w.pth", ["fc"], UNITS)
    assert set(report.loaded) == set(state())
    assert report.warning is None
    assert all(bool((value == 7).all()) for value in model.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["w.pth.tar", "w.ckpt", "W.PTH", "pytorch_model.bin", "w", "w.safetensors"])
def test_bytes_tell_what_a_file_is(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    """Even a name that promises something else."""
    torch.save({key: value.to(dtype) for key, value in state().items()}, tmp_path / name)
    model = Net()
    load_weights(model, tmp_path / name, ["fc"], UNITS)
    assert model.a.weight.dtype == torch.float32
    assert bool((model.a.weight == 7).all())


@pytest.mark.parametrize("name", ["w.SAFETENSORS", "w.pt", "w"])
def test_safetensors_by_another_name(tmp_path: Path, name: str) -> None:
    save_file(state(), tmp_path / name)
    assert set(load_weights(Net(), tmp_path / name, ["fc"], UNITS).loaded) == set(state())


class Meter:
    """Something of a trainer's own."""

    def __init__(self) -> None:
        self.mean = 3.0


def leftovers() -> dict[str, Any]:
    """What trainers save beside the weights."""
    return {
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), seed=np.int64(3)),
        "best": np.float64(0.9),
        "history": np.zeros(3),
        "meter": Meter(),
        "when": datetime(2026, 1, 1),
        "by_class": defaultdict(list, {"cat": [1]}),
        "scheduler": functools.partial(max, 1),
        "device": torch.device("cpu"),
    }


@pytest.mark.parametrize("beside", leftovers())
def test_other_objects_beside_the_weights_do_not_matter(tmp_path: Path, beside: str) -> None:
    torch.save({"model": state(), beside: leftovers()[beside]}, tmp_path / "w.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(load_weights(Net(), tmp_path / "w.pt", ["fc"], UNITS).loaded) == set(state())


def test_other_objects_are_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trainer_of_mine.py").write_text("class Settings:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = importlib.import_module("trainer_of_mine").Settings()
    torch.save({"model": state(), "settings": settings}, tmp_path / "w.pt")
    del sys.modules["trainer_of_mine"]
    before = torch.serialization.get_safe_globals()
    load_weights(Net(), tmp_path / "w.pt", ["fc"], UNITS)
    assert "trainer_of_mine" not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_a_moving_average_beside_the_weights_is_told(tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in state().items()}
    torch.save({"state_dict_ema": other, "state_dict": state()}, tmp_path / "w.pt")
    model = Net()
    report = load_weights(model, tmp_path / "w.pt", ["fc"], UNITS)
    assert bool((model.a.weight == 7).all())
    assert report.warning == "the weights are those of 'state_dict' in their file, which also has 'state_dict_ema'"


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ({"student": state(), "teacher": {**state(), "a.bias": torch.zeros(2)}}, "'student', 'teacher'"),
        (
            {"state_dict": prefixed("q.", state()) | prefixed("k.", {**state(), "a.bias": torch.zeros(2)})},
            "'state_dict.q', 'state_dict.k'",
        ),
    ],
)
def test_two_networks_that_fit_are_refused(tmp_path: Path, content: dict[str, Any], places: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InvalidInputError, match=f"has several networks that fit: {places}. Write the one that you"):
        load_weights(Net(), tmp_path / "w.pt", ["fc"], UNITS)


def test_the_same_network_twice_is_one(tmp_path: Path) -> None:
    torch.save({"student": state(), "teacher": state()}, tmp_path / "w.pt")
    assert set(load_weights(Net(), tmp_path / "w.pt", ["fc"], UNITS).loaded) == set(state())


def test_where_tensors_were_found_is_told_if_none_fit(tmp_path: Path) -> None:
    torch.save(
        {"encoder": {"stem.weight": torch.zeros(1)}, "decoder": {"up.weight": torch.zeros(1)}}, tmp_path / "w.pt"
    )
    with pytest.raises(InvalidInputError) as caught:
        load_weights(Net(), tmp_path / "w.pt", ["fc"], UNITS)
    assert "has no tensor of this backbone" in caught.value.faults[0]
    assert caught.value.faults[1] == "It holds tensors at 'decoder', 'encoder' (2 in all)."


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (r"is a sparse tensor. Save it dense: tensor.to_dense\(\)", Tensor.to_sparse),
        ("has no values: it is a meta tensor. Write the file again", lambda tensor: tensor.to("meta")),
        (
            r"is a quantized tensor. Save it as plain numbers: tensor.dequantize\(\)",
            lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        ),
        ("has NaN or infinite values", lambda tensor: tensor * torch.nan),
        ("has NaN or infinite values", lambda tensor: tensor / 0),
        ("has NaN or infinite values", lambda tensor: tensor.double() * 1e300),
    ],
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("beside", [{}, {"model": state()}])
def test_tensors_that_no_network_can_use_are_named(
    tmp_path: Path, kind: str, change: Callable[[Tensor], Tensor], beside: dict[str, Any]
) -> None:
    tensors = state()
    torch.save({"state_dict": tensors | {"b.weight": change(tensors["b.weight"])}, **beside}, tmp_path / "w.pt")
    model = Net()
    before = model.a.weight.clone()
    with pytest.raises(InvalidInputError, match=f"w.pt': b.weight {kind}"):
        load_weights(model, tmp_path / "w.pt", ["fc"], UNITS)
    assert torch.equal(model.a.weight, before)


def test_a_classifier_that_is_left_out_may_hold_anything(tmp_path: Path) -> None:
    torch.save(state() | {"fc.weight": torch.full((5, 2), torch.nan)}, tmp_path / "w.pt")
    assert "fc.weight" in load_weights(Net(), tmp_path / "w.pt", ["fc"], UNITS).left_out


def test_names_on_the_way_to_weights_that_are_too_deep_are_told(tmp_path: Path) -> None:
    content: dict[str, Any] = state()
    for name in "hgfedcba":
        content = {name: content}
    torch.save({**content, "epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(InvalidInputError, match=r"but a.b.c.d.e.f.g, epoch \(2 in all\)"):
        read_mappings(tmp_path / "w.pt")


def test_a_real_network_from_a_lightning_module(tmp_path: Path) -> None:
    network = resnet18(num_classes=5)
    kept = prefixed("model.", network.state_dict()) | {"criterion.weight": torch.ones(5)}
    torch.save(
        {"state_dict": kept, "epoch": 3, "hyper_parameters": {"lr": 0.1}, "callbacks": {}}, tmp_path / "last.ckpt"
    )
    backbone = create_backbone(BackboneSpec("resnet18", str(tmp_path / "last.ckpt"), 32))
    own = backbone.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items() if "fc" not in name)


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(resnet18(num_classes=5).state_dict(), tmp_path / "w.PTH")
    backbone = create_backbone(BackboneSpec("resnet18", "~/w.PTH", 32))
    assert len(backbone.weights_report.loaded) > 100


@pytest.mark.parametrize("text", ["w.pt", "W.CKPT", "w.pth.tar", "folder/w", "~/w"])
def test_what_is_taken_for_a_file(text: str) -> None:
    assert is_weights_file(text)
    assert not is_weights_file("IMAGENET1K_V1")


# Damage and malice


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


class Sly:
    """Calls a harmless class's constructor with the result of a call."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return pathlib.Path.mkdir, (Path("owned"),)


@pytest.mark.parametrize("content", [Evil(), {"a": Evil()}, {"model": state(), "args": Evil()}])
def test_a_file_that_names_the_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "w.pt")
    with pytest.raises(InvalidInputError, match="cannot be read as tensors"):
        read_mappings(Path("w.pt"))
    assert not Path("owned").exists()


@pytest.mark.parametrize("content", [Sly(), {"model": state(), "args": Sly()}, {"model": state(), "a": [Sly()]}])
def test_no_code_of_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "w.pt")
    with contextlib.suppress(InvalidInputError):
        read_mappings(Path("w.pt"))
    assert not Path("owned").exists()


def test_a_whole_network_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(
        InvalidInputError, match=r"but a whole object. Write the weights alone: torch.save\(model.state"
    ):
        read_mappings(tmp_path / "w.pt")


def test_a_torchscript_file_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(tmp_path / "w.pt"))  # pyright: ignore
    with pytest.raises(InvalidInputError, match="torchscript"):
        read_mappings(tmp_path / "w.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(1)], {}, torch.zeros(2)])
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(InvalidInputError, match="holds no state dict") as caught:
        read_mappings(path)
    assert ("but epoch (1 in all)" in str(caught.value)) == (
        content == {"epoch": 3} if isinstance(content, dict) else 0
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"not a header", "neither a safetensors file nor one of torch.save, or it is cut off"),
        ("w.pt", b"hello", "neither a safetensors file nor one of torch.save"),
        ("w.pt", b"", "neither a safetensors file nor one of torch.save"),
        ("w.pt", b"PK\x03\x04 cut off", "cannot be read"),
        ("w.bin", b"", "neither a safetensors file"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        load_weights(Net(), tmp_path / name, [])


def test_a_folder_of_weights_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"are a folder\. Name the file in it\."):
        read_mappings(tmp_path)


@pytest.mark.parametrize("write", [lambda path: save_file(state(), path), lambda path: torch.save(state(), path)])
def test_mutated_files_give_tensors_or_a_reason(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "w")
    whole, draw = np.frombuffer((tmp_path / "w").read_bytes(), dtype=np.uint8), np.random.default_rng(0)
    for _ in range(100):
        damaged = whole[: draw.integers(1, len(whole) + 1)].copy()
        damaged[draw.integers(0, len(damaged), 4)] = draw.integers(0, 256, 4)
        (tmp_path / "w").write_bytes(damaged.tobytes())
        with contextlib.suppress(InvalidInputError):
            load_weights(Net(), tmp_path / "w", ["fc"], UNITS)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_weights(Net(), tmp_path / "w.safetensors", ["fc"])


def test_older_names() -> None:
    older = ["features.denseblock1.denselayer2.norm.1.weight", "encoder.layers.encoder_layer_0.mlp.linear_2.bias"]
    newer = ["features.denseblock1.denselayer2.norm1.weight", "encoder.layers.encoder_layer_0.mlp.3.bias"]
    tensors = [torch.zeros(1), torch.ones(1)]
    renamed = rename(dict(zip(older, tensors, strict=True)))
    assert list(renamed) == newer
