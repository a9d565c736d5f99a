from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from frostline.objectives.backbones.weights import load_weights, read_weights, rename
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


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_state_dicts(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "w.pth"
    torch.save({wrapper: {f"module.{name}": value for name, value in state().items()}, "epoch": 3}, path)
    assert set(load_weights(Net(), path, ["fc"]).loaded) == set(state())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("content", [Evil(), {"a": Evil()}, nn.Linear(2, 2)])
def test_no_code_of_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "w.pt")
    with pytest.raises(InvalidInputError, match="cannot be read as tensors"):
        read_weights(Path("w.pt"))
    assert not Path("owned").exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(1)], {}, torch.zeros(2)])
def test_no_state_dict(tmp_path: Path, content: object) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(InvalidInputError, match="holds no state dict"):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"not a header", "cannot be read"),
        ("w.pt", b"hello", "was not written by torch.save"),
        ("w.pt", b"", "was not written by torch.save"),
        ("w.pt", b"PK\x03\x04 cut off", "cannot be read"),
        ("w.bin", b"", "must end in"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        load_weights(Net(), tmp_path / name, [])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_weights(Net(), tmp_path / "w.safetensors", ["fc"])


def test_older_names() -> None:
    older = ["features.denseblock1.denselayer2.norm.1.weight", "encoder.layers.encoder_layer_0.mlp.linear_2.bias"]
    newer = ["features.denseblock1.denselayer2.norm1.weight", "encoder.layers.encoder_layer_0.mlp.3.bias"]
    tensors = [torch.zeros(1), torch.ones(1)]
    renamed = rename(dict(zip(older, tensors, strict=True)))
    assert list(renamed) == newer
