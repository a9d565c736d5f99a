"""Names of backbones: torchvision's, timm's, and functions of the user's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data
import torch
from torch import nn

from frostline.objectives.backbones.backbone import Backbone, check_backbone, create_backbone
from frostline.objectives.backbones.model_sources import model_source, preprocessing_for
from frostline.objectives.backbones.user_models import FactoryModel
from frostline.objectives.config import BackboneSpec
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.preprocessing import Preprocessing

from .. import zoo

DATA = Path(os.environ.get("FROSTLINE_TEST_DATA", Path(__file__).parents[3] / ".." / "shared"))

FACTORY = """
import torch
from torch import nn
from frostline.objectives.preprocessing import Preprocessing

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.net = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        return self.net(x * self.scale)

def small(num_classes=7):
    from layers import layer  # Imported late, and from the same folder.
    net = nn.Sequential(layer(), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.AdaptiveAvgPool2d(1),
                        nn.Flatten(), nn.Linear(8, num_classes))
    nn.init.constant_(net[0].weight, 0.5)
    net[1].running_mean.fill_(9.0)
    return net

small.preprocessing = Preprocessing(32, 40, "bicubic", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))

def sized(image_size, num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * (image_size - 2) ** 2, num_classes))

def bare(): return Bare()
def demanding(width): return small()
def broken(): raise KeyError("weights")
def wrong(): return 3
number = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("factories")
    (path / "my_factories.py").write_text(FACTORY)
    (path / "layers.py").write_text("from torch import nn\ndef layer(): return nn.Conv2d(3, 4, 3)\n")
    (path / "breaks.py").write_text("import no_such_library\n")
    return path


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    path = list(sys.path)
    yield
    assert sys.path == path
    for name in ("my_factories", "layers", "breaks"):
        sys.modules.pop(name, None)
    model_source.cache_clear()


@torch.no_grad()
def assert_parts_make_the_whole(backbone: Backbone, size: int) -> None:
    backbone.model.eval()
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    whole = backbone.model(images)
    assert torch.isfinite(whole).all()
    for depth in (1, len(backbone.units) // 2, len(backbone.units)):
        assert torch.equal(backbone.segment(depth)(backbone.segment(0, depth)(images)), whole)


# timm

TIMM = {
    "resnet10t": (64, 1 + 4 + 2, (512, 2, 2)),
    "mobilenetv3_small_050": (64, None, (1024, 1, 1)),
    "vit_tiny_patch16_224": (64, 1 + 12, (192,)),
    "eva02_tiny_patch14_224": (56, 1 + 12, (192,)),
    "deit_tiny_distilled_patch16_224": (64, 1 + 12, (18, 192)),
    "tf_efficientnet_b0": (64, 1 + 16 + 1, (1280, 2, 2)),
}


@pytest.mark.parametrize("name", TIMM)
def test_models_of_timm_are_cut(name: str) -> None:
    size, units, end = TIMM[name]
    backbone = create_backbone(BackboneSpec(f"timm:{name}", "none", size))
    assert len(backbone.units) == units if units else len(backbone.units) > 10
    assert backbone.units[-1].output_shape == end
    assert_parts_make_the_whole(backbone, size)


def test_the_preprocessing_of_timm_is_what_its_own_transform_does() -> None:
    library: Any = timm
    for name in ("resnet10t", "vit_tiny_patch16_224", "tf_efficientnet_b0"):
        pretrained = library.get_pretrained_cfg(name).to_dict()
        config = library.data.resolve_data_config(pretrained_cfg=pretrained, use_test_size=True)
        resize, crop, *_, normalize = library.data.create_transform(**config).transforms
        own = preprocessing_for(f"timm:{name}", "DEFAULT")
        assert (own.resize_size, own.image_size) == (resize.size, crop.size[0])
        assert own.interpolation == resize.interpolation.value
        assert own.mean == pytest.approx(normalize.mean.tolist())
        assert own.std == pytest.approx(normalize.std.tolist())


def test_weights_of_timm_are_asked_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    with pytest.raises(InvalidInputError, match=r"timm:test_resnet could not be downloaded \(no route\).*--weights"):
        create_backbone(BackboneSpec("timm:test_resnet", "DEFAULT", 64))


def test_a_file_without_the_classifier_loads_into_a_model_of_timm(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, tmp_path / "w.pt")
    backbone = create_backbone(BackboneSpec("timm:test_resnet", str(tmp_path / "w.pt"), 64))
    assert backbone.weights_report.missing == ("fc.bias", "fc.weight")
    assert torch.equal(backbone.model.state_dict()["layer4.0.conv1.weight"], state["layer4.0.conv1.weight"])


def test_without_timm_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model_source.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'frostline\[timm\]'"):
        check_backbone(BackboneSpec("timm:resnet10t"))


# Functions of the user's


@pytest.mark.usefixtures("here")
def test_a_factory_in_the_current_folder() -> None:
    spec = BackboneSpec("my_factories:small", "DEFAULT", 32)
    backbone = create_backbone(spec)
    assert [unit.name for unit in backbone.units] == ["0", "3"]
    assert backbone.model.state_dict()["6.bias"].shape == (7,)
    assert (backbone.model.state_dict()["0.weight"] == 0.5).all()
    assert "0.weight" in backbone.weights_report.loaded
    assert_parts_make_the_whole(backbone, 32)
    own = preprocessing_for("my_factories:small", "DEFAULT")
    assert (own.image_size, own.resize_size, own.interpolation) == (32, 40, "bicubic")
    assert preprocessing_for("my_factories:bare", "DEFAULT").resize_size == 256


@pytest.mark.usefixtures("here")
def test_random_weights_of_a_factory_follow_the_seed_and_forget_what_it_loaded() -> None:
    spec = BackboneSpec("my_factories:small", "DEFAULT", 32)
    first, again, other = (create_backbone(spec, pretrained=False, seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert first["0.weight"].std() > 0
    assert (first["1.running_mean"] == 0).all()


@pytest.mark.usefixtures("here")
def test_a_factory_gets_the_size_that_it_asks_for() -> None:
    model = create_backbone(BackboneSpec("my_factories:sized", "DEFAULT", 20)).model
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[2], nn.Linear)
    assert model[2].in_features == 4 * 18 * 18


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("my_factories:smal", "DEFAULT", "Did you mean 'small'"),
        ("my_factories:number", "DEFAULT", "is a int, not a function"),
        ("my_factories:demanding", "DEFAULT", "needs width"),
        ("my_factories:broken", "DEFAULT", "fails: KeyError: 'weights'"),
        ("my_factories:wrong", "DEFAULT", "returns a int, not a torch.nn.Module"),
        ("my_factories:bare", "none", r"the root \(Bare\) has parameters but no reset_parameters"),
        ("my_factories:small", "V9", "Unknown weights for my_factories:small"),
        ("no_such_module:small", "DEFAULT", "no module 'no_such_module' here.*PYTHONPATH"),
        ("breaks:small", "DEFAULT", "No module named 'no_such_library'"),
        ("timm:resnet10x", "DEFAULT", "Did you mean 'timm:resnet1"),
        ("timm:resnet18.nothing", "DEFAULT", "Unknown weights of timm:resnet18"),
        ("resnet19", "DEFAULT", "module:function your own"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_is_refused(name: str, weights: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        create_backbone(BackboneSpec(name, weights, 32))


PLAIN = {"image_size": 32, "resize_size": 40, "interpolation": "nearest", "mean": [0.5, 0.4, 0.3], "std": (0.2, 0.2, 1)}


def factory_with(preprocessing: Any) -> FactoryModel:
    def factory() -> nn.Module:
        return nn.Conv2d(3, 4, 3)

    factory.preprocessing = preprocessing  # type: ignore[attr-defined]
    return FactoryModel("nets:factory", factory)


def test_a_preprocessing_may_be_plain_data() -> None:
    own = Preprocessing(32, 40, "nearest", (0.5, 0.4, 0.3), (0.2, 0.2, 1.0))
    assert factory_with(PLAIN).preprocessing("none") == factory_with(own).preprocessing("none") == own
    # What is left out is as of most published weights: 256 to 224 px, ImageNet's statistics.
    assert factory_with({"image_size": 112}).preprocessing("none") == Preprocessing(
        112, 128, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "nets:factory.preprocessing is of type int; it must be a dictionary of image_size, resize_size"),
        ({**PLAIN, "sd": 1}, "Unknown field of nets:factory.preprocessing 'sd'"),
        ({**PLAIN, "image_size": "large"}, "preprocessing: image_size: Input should be a valid integer"),
        ({**PLAIN, "mean": [0.5]}, "preprocessing: mean"),
        ({**PLAIN, "image_size": 8}, "image_size 8 is below 16"),
        ({**PLAIN, "resize_size": 16}, "resize_size 16 is below image_size 32"),
        ({**PLAIN, "interpolation": "linear"}, "interpolation 'linear' is none of bilinear, bicubic, nearest"),
        ({**PLAIN, "std": (0, 1, 1)}, "must be above 0"),
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        factory_with(wrong).preprocessing("none")


STAND_IN = "raise SystemExit('this file stands in for a library')\n"


@pytest.mark.slow  # A process.
def test_no_file_beside_the_photos_stands_in_for_a_library(tmp_path: Path) -> None:
    """In a process of its own: here the libraries are imported already."""
    (tmp_path / "photos_model.py").write_text(
        "import colorsys\nfrom parts import layer\n\ndef net():\n    import wsgiref.util\n    return layer()\n"
    )
    (tmp_path / "parts.py").write_text("from torch import nn\ndef layer(): return nn.Conv2d(3, 4, 3)\n")
    for name in ("colorsys", "wsgiref", "timm", "torchvision"):
        (tmp_path / f"{name}.py").write_text(STAND_IN)
    script = """
import sys
from frostline.objectives.backbones.model_sources import model_source
before = list(sys.path)
model = model_source("photos_model:net").create(32, "DEFAULT")
assert type(model).__name__ == "Conv2d"
model_source("timm:resnet10t").create(64, None)
assert sys.path == before
try:
    model_source("colorsys:net")
except Exception as error:
    print(error)
"""
    # -P: without it Python itself puts the folder of a script first, before this program starts.
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'colorsys.py'} was not imported" in done.stdout


def test_published_weights_of_a_resnet_for_cifar_fit() -> None:
    file = DATA / "weights" / "resnet20_cifar10.safetensors"
    if not file.exists():
        pytest.skip(f"{file.name} is not in $FROSTLINE_TEST_DATA/weights")
    name = f"{zoo.__name__}:CifarResNet20"
    backbone = create_backbone(BackboneSpec(name, str(file), 32))
    stages = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert [unit.name for unit in backbone.units] == ["conv1", *stages]
    report = backbone.weights_report
    assert len(report.loaded) == 97
    assert {key for key in report.missing if not key.endswith("num_batches_tracked")} == set()
    assert not report.unexpected
    assert_parts_make_the_whole(backbone, 32)
