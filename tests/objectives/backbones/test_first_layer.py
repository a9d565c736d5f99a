"""First layers for other numbers of channels are those of timm, bit for bit, and of networks that already take them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torchvision.models import resnet18

from frostline.objectives.backbones import Backbone, create_backbone
from frostline.objectives.backbones.first_layer import repeated, widen
from frostline.objectives.config import BackboneSpec
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks import BackbonePool

REPEATED = "for 5 channels: its pretrained weights for 3, repeated and multiplied by 3/5"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6, 13, 100])
def test_the_weights_are_those_of_timm(channels: int, dtype: torch.dtype) -> None:
    weight = torch.randn(8, 3, 7, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    own = repeated(weight, channels)
    assert own.dtype == dtype
    assert torch.equal(own, adapt_input_conv(channels, weight.clone()))


@pytest.mark.parametrize("channels", [1, 4, 13])
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224"])
def test_a_file_is_loaded_as_timm_loads_it(name: str, channels: int, tmp_path: Path) -> None:
    color = timm.create_model(name, num_classes=7)
    file = tmp_path / "color.safetensors"
    save_file(color.state_dict(), file)
    size = 224 if name.startswith("vit") else 64
    own = create_backbone(BackboneSpec(f"timm:{name}", str(file), size, channels))
    given = timm.create_model(
        name, pretrained=True, in_chans=channels, num_classes=7, pretrained_cfg_overlay={"file": str(file)}
    )
    expected, state = given.state_dict(), own.model.state_dict()
    compared = [key for key, value in expected.items() if state[key].shape == value.shape]
    assert len(compared) >= len(expected) - 2, "all but the classifier"
    assert all(torch.equal(state[key], expected[key]) for key in compared)
    assert own.first_layer == (
        "for 1 channel: its pretrained weights for 3, summed"
        if channels == 1
        else f"for {channels} channels: its pretrained weights for 3, repeated and multiplied by 3/{channels}"
    )


def features(backbone: Backbone, images: Tensor) -> Tensor:
    with torch.no_grad():
        return backbone.prefix(len(backbone.units))(images)


@pytest.fixture
def color_file(tmp_path: Path) -> Path:
    file = tmp_path / "color.safetensors"
    torch.manual_seed(3)
    save_file(resnet18().state_dict(), file)
    return file


def test_an_image_whose_channels_repeat_gives_what_its_color_gives(color_file: Path) -> None:
    """By the arithmetic of the rule: 6 channels are color twice, at half the weights; gray is three equal channels."""
    spec = BackboneSpec("resnet18", str(color_file), 64)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = features(create_backbone(spec), images)
    twice = features(create_backbone(BackboneSpec(*(spec.name, spec.weights, 64, 6))), images.repeat(1, 2, 1, 1))
    torch.testing.assert_close(twice, expected, rtol=1e-4, atol=1e-5)
    gray = images[:, :1]
    one = features(create_backbone(BackboneSpec(*(spec.name, spec.weights, 64, 1))), gray)
    torch.testing.assert_close(one, features(create_backbone(spec), gray.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)


def test_only_the_first_layer_differs(color_file: Path) -> None:
    color = create_backbone(BackboneSpec("resnet18", str(color_file), 64)).model.state_dict()
    wide = create_backbone(BackboneSpec("resnet18", str(color_file), 64, 5))
    state = wide.model.state_dict()
    assert [name for name, value in color.items() if not torch.equal(value, state[name])] == ["conv1.weight"]
    assert torch.equal(state["conv1.weight"], adapt_input_conv(5, color["conv1.weight"]))
    assert (wide.weights_report.adapted, wide.first_layer) == (("conv1.weight",), REPEATED)
    assert wide.units[0].flops / create_backbone(BackboneSpec("resnet18", "none", 64)).units[0].flops > 1.5


def test_weights_of_as_many_channels_are_taken_as_they_are(tmp_path: Path) -> None:
    """Such as those of a network for satellites."""
    network = resnet18()
    network.conv1 = nn.Conv2d(13, 64, 7, 2, 3, bias=False)
    save_file(network.state_dict(), tmp_path / "bands.safetensors")
    backbone = create_backbone(BackboneSpec("resnet18", str(tmp_path / "bands.safetensors"), 64, 13))
    assert torch.equal(backbone.model.state_dict()["conv1.weight"], network.conv1.weight)
    assert backbone.first_layer == "for 13 channels: as its weights have it"
    with pytest.raises(InvalidInputError, match=r"of another shape: conv1.weight \(64, 13, 7, 7\) for \(64, 5, 7, 7\)"):
        create_backbone(BackboneSpec("resnet18", str(tmp_path / "bands.safetensors"), 64, 5))


def test_random_weights_keep_the_size_of_the_outputs() -> None:
    color, wide = (
        create_backbone(BackboneSpec("resnet18", "none", 64, channels)).model.state_dict()["conv1.weight"]
        for channels in (3, 12)
    )
    assert float(wide.std() / color.std()) == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(wide[:, :3], wide[:, 3:6])


def test_random_weights_depend_on_the_seed_alone() -> None:
    pool = BackbonePool(BackboneSpec("tiny_network:create", "DEFAULT", 32, 5))
    assert pool.pretrained.first_layer == REPEATED
    one, other, again = (
        pool.fresh(pretrained=False, seed=seed).model.state_dict()["stem.0.weight"].clone() for seed in (0, 1, 0)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert pool.pretrained.first_layer == "for 5 channels: drawn at random"
    pool.fresh(pretrained=True, seed=0)
    assert pool.pretrained.first_layer == REPEATED


def test_color_is_as_ever() -> None:
    spec = BackboneSpec("resnet18", "none", 64)
    assert spec.identity == {"name": "resnet18", "weights": "none", "image_size": 64}
    assert BackboneSpec("resnet18", "none", 64, 5).identity["channels"] == 5
    assert create_backbone(spec).first_layer == ""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "banded.py").write_text(
        "from torch import nn\n"
        "def layers(first):\n"
        "    return nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))\n"
        "def five(): return layers(nn.Conv2d(5, 8, 3))\n"
        "def asked(in_channels=3): return layers(nn.Conv2d(in_channels, 8, 3))\n"
        "def flat(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU(), nn.Linear(8, 4))\n"
        "def apart(): return layers(nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 8, 3)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("banded", None)


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize("name", ["five", "asked"])
def test_a_network_of_the_users_that_takes_them_is_left_alone(name: str) -> None:
    backbone = create_backbone(BackboneSpec(f"banded:{name}", "DEFAULT", 32, 5))
    assert features(backbone, torch.zeros(2, 5, 32, 32)).shape[0] == 2
    assert backbone.first_layer == "for 5 channels: as its weights have it"
    if name == "asked":
        assert (
            create_backbone(BackboneSpec(f"banded:{name}", "DEFAULT", 32)).model.state_dict()["0.weight"].shape[1] == 3
        )


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (BackboneSpec("banded:flat", "DEFAULT", 32, 5), "begins with no convolution, .*an argument in_channels"),
        (BackboneSpec("banded:apart", "DEFAULT", 32, 5), "begins with Conv2d.*groups=3"),
        (
            BackboneSpec("banded:five", "DEFAULT", 32, 4),
            "take images of 4 channels: it does not take 3 either",
        ),
        (BackboneSpec("googlenet", "DEFAULT", 64, 5), "converts red, green and blue itself.*leave out --channels"),
    ],
)
def test_what_cannot_be_adapted_is_refused(spec: BackboneSpec, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        create_backbone(spec)


def test_the_network_that_runs_is_the_one_that_is_widened() -> None:
    """The first convolution in the order of the run, not of the definition."""

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Conv2d(4, 4, 3)
            self.first = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    model = Late().eval()
    before = model.first.weight.detach().clone()
    assert widen(model, "late", 16, 4, pretrained=True)
    assert torch.equal(model.first.weight, adapt_input_conv(4, before))
    assert model(torch.zeros(1, 4, 16, 16)).shape == (1, 4, 12, 12)
