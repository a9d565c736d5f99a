"""The worked examples: valid study files that train just what they say, and run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small, resnet18, vgg16
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.backbones.backbone import Backbone, create_backbone
from frostline.objectives.config import BackboneSpec, create_config
from frostline.objectives.networks.heads import create_head
from frostline.objectives.networks.network import Network
from frostline.objectives.phases import Phase
from frostline.objectives.strategies import get_strategy
from frostline.objectives.strategies.plans import plan_phases
from frostline.search.space.parsing import resolve_space
from frostline.search.space.space import Space
from frostline.search.study.request import Request

from .noise import write_photos

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = sorted(EXAMPLES.glob("*.toml"))
CLASSES, SIZE = 3, 64


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=TerminalViews(), prog_name="frostline")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), dict.fromkeys(("ant", "bee", "cat"), 4), size=(32, 32))


class Example:
    """An example's only strategy in its default configuration, built with random weights."""

    def __init__(self, name: str, weights: str = "none") -> None:
        request = Request.read(EXAMPLES / f"{name}.toml")
        space = request.file.space() if request.file else None
        assert isinstance(space, Space)
        (self.strategy,) = space.strategies
        self.backbone: Backbone = create_backbone(BackboneSpec(request.backbone, weights, SIZE))
        resolved = resolve_space(space, len(self.backbone.units))
        self.config = create_config(resolved.default(self.strategy))
        self.head = create_head(self.config.head, self.backbone.units[-1].output_shape, CLASSES)

    def phases(self) -> tuple[Phase, ...]:
        return plan_phases(self.config, len(self.backbone.units))

    def trains(self, phase: Phase) -> tuple[set[str], int]:
        """Names in torchvision's model of the backbone's parameters that train, and how many weights of the head."""
        trainable = Network(self.backbone, phase, self.head).trainable()
        names = [name for name, _ in trainable if not name.startswith("head.")]
        of_head = [parameter.numel() for name, parameter in trainable if name.startswith("head.")]
        return {name.split(".", 2)[2] for name in names}, sum(of_head)

    def head_layers(self) -> list[str]:
        """The head without dropout, which trains nothing and is searched."""
        flat = [layer for layer in self.head.modules() if not list(layer.children())]
        return [str(layer).split(", bias")[0] for layer in flat if not isinstance(layer, nn.Dropout)]


def test_vgg16_on_a_frozen_base_trains_two_dense_layers() -> None:
    example = Example("vgg16_frozen_base")
    (phase,) = example.phases()
    # Five halvings of the image, 512 channels.
    inputs = 512 * (SIZE // 32) ** 2
    assert example.trains(phase) == (set(), inputs * 256 + 256 + 256 * CLASSES + CLASSES)
    assert example.head_layers() == [
        "Flatten(start_dim=1, end_dim=-1)",
        f"Linear(in_features={inputs}, out_features=256",
        "ReLU()",
        f"Linear(in_features=256, out_features={CLASSES}",
    ]
    assert get_strategy(example.strategy).pretrained


@pytest.mark.slow  # VGG16; the other example of it is quick.
def test_vgg16_from_block5_trains_its_last_three_convolutions() -> None:
    example = Example("vgg16_from_block5")
    (phase,) = example.phases()
    block5 = {f"features.{layer}.{kind}" for layer in (24, 26, 28) for kind in ("weight", "bias")}
    names, of_head = example.trains(phase)
    assert names == block5
    assert of_head == 512 * (SIZE // 32) ** 2 * 256 + 256 + 256 * CLASSES + CLASSES
    # What is frozen ends with the fourth pooling layer of torchvision's own list.
    layers = vgg16(weights=None).features.children()
    pools = [place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    model = example.backbone.model
    images = torch.randn(2, 3, SIZE, SIZE)
    assert isinstance(model.features, nn.Sequential)
    expected: Tensor = model.features[: pools[3] + 1](images)
    prefix = example.backbone.segment(0, phase.freeze_depth)
    assert torch.equal(prefix(images), expected)
    assert max(phase.unit_learning_rates) <= 1e-4


def test_cars_to_trucks_replaces_the_output_and_adds_hidden_layers(tmp_path: Path) -> None:
    cars = resnet18(weights=None, num_classes=196).eval()
    file = tmp_path / "cars.safetensors"
    save_file({name: value.contiguous() for name, value in cars.state_dict().items()}, file)
    example = Example("cars_to_trucks", weights=str(file))
    (phase,) = example.phases()
    # No bias before a batch norm.
    linear = 512 * 256 + 256 * 256 + (256 * CLASSES + CLASSES)
    assert example.trains(phase) == (set(), linear + 2 * (2 * 256))
    outputs = [layer.out_features for layer in example.head.modules() if isinstance(layer, nn.Linear)]
    assert outputs == [256, 256, CLASSES]
    # The frozen part is the network of the cars, up to its pooling.
    images = torch.randn(2, 3, SIZE, SIZE)
    body = nn.Sequential(*list(cars.children())[:-2])
    assert torch.equal(example.backbone.segment(0, phase.freeze_depth)(images), body(images))
    assert set(example.backbone.weights_report.left_out) == {"fc.weight", "fc.bias"}


def test_extract_then_finetune_trains_the_head_and_then_everything() -> None:
    example = Example("extract_then_finetune")
    first, second = example.phases()
    head = 576 * CLASSES + CLASSES
    assert example.trains(first) == (set(), head)
    everything = {f"features.{name}" for name, _ in mobilenet_v3_small(weights=None).features.named_parameters()}
    assert example.trains(second) == (everything, head)
    assert (first.epochs, second.epochs) == (8, 12)
    assert max(second.unit_learning_rates) < first.head_learning_rate
    assert not second.continues


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_example_asks_nothing_that_is_refused(file: Path, photos: Path, tmp_path: Path) -> None:
    options = ["--weights", "none", "--image-size", "32", "--trials", "0", "--workspace", tmp_path / "made"]
    result = invoke("search", file, "--data", photos, *options)
    assert result.exit_code == 2
    assert result.stderr.strip() == "--trials must be at least 1, got 0."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_example_is_listed_and_says_what_to_type(file: Path) -> None:
    command = f"frostline search examples/{file.name} --data"
    assert command in (EXAMPLES / "README.md").read_text()
    text = file.read_text()
    assert f"$ {command}" in text
    assert "What it teaches" in text
    # Data are the reader's own.
    assert "data" not in tomllib.loads(text)["study"]


def test_an_example_runs_to_its_verdict(photos: Path, tmp_path: Path) -> None:
    tiny = ["--weights", "none", "--image-size", "32", "--trials", "1", "--seeds", "1", "--device", "cpu"]
    file = EXAMPLES / "extract_then_finetune.toml"
    result = invoke("search", file, "--data", photos, *tiny, "--workspace", tmp_path / "ws", "--json")
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    assert described["strategies"]["lp_ft"]["complete"] == 1
    assert described["verdict"]["winner"] == "lp_ft"
    assert described["study"].endswith("-extract_then_finetune")
