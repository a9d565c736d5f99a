from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import VisionTransformer, get_model

from frostline.objectives.backbones.backbone import Backbone, check_backbone, create_backbone
from frostline.objectives.backbones.torchvision_models import backbone_names, backbone_table
from frostline.objectives.config import BackboneSpec
from frostline.objectives.errors import InvalidInputError

from .initialization import no_initialization

DATA = Path(os.environ.get("FROSTLINE_TEST_DATA", Path(__file__).parents[3] / ".." / "shared"))


def images(size: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_all_classification_models_are_there() -> None:
    assert len(backbone_names()) == 80
    assert [info.name for info in backbone_table()] == backbone_names()


@pytest.fixture(scope="module")
def mobilenet() -> Backbone:
    return create_backbone(BackboneSpec("mobilenet_v3_small", "none", 32))


def test_middle_segments_chain(mobilenet: Backbone) -> None:
    n = len(mobilenet.units)
    x = images(32)
    with torch.no_grad():
        y = mobilenet.segment(5, n)(mobilenet.segment(3, 5)(mobilenet.segment(0, 3)(x)))
        assert torch.equal(y, mobilenet.segment(0, n)(x))
        assert torch.equal(mobilenet.segment(n, n)(y), y)


def test_units_in_order_with_shares(mobilenet: Backbone) -> None:
    n = len(mobilenet.units)
    assert mobilenet.frozen_share(0) == (0.0, 0.0)
    assert mobilenet.frozen_share(n) == (1.0, 1.0)
    tensors = mobilenet.unit_tensors()
    assert list(tensors) == [unit.name for unit in mobilenet.units]
    assert "features.1.block.0.1.running_mean" in tensors["features.1"]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 99), (99, None)])
def test_segment_outside_the_backbone(mobilenet: Backbone, start: int, stop: int | None) -> None:
    with pytest.raises(ValueError, match="A segment needs"):
        mobilenet.segment(start, stop)


def test_copies_are_independent_and_equal(mobilenet: Backbone) -> None:
    twin = copy.deepcopy(mobilenet)
    x = images(32)
    with torch.no_grad():
        next(twin.model.parameters()).zero_()
        assert not torch.equal(twin.segment(0, 2)(x), mobilenet.segment(0, 2)(x))
        assert torch.equal(twin.segment()(x), twin.model(x))


def test_same_seed_same_weights_and_the_global_state_is_left_alone() -> None:
    spec = BackboneSpec("squeezenet1_1", "none", 32)
    state = torch.get_rng_state()
    first, again, other = (create_backbone(spec, seed=seed).model.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])


def test_pretrained_off_ignores_the_file(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    model = create_backbone(BackboneSpec("squeezenet1_1", "none", 32), seed=1).model
    torch.save(model.state_dict(), file)
    spec = BackboneSpec("squeezenet1_1", str(file), 32)
    loaded, fresh = create_backbone(spec, seed=2), create_backbone(spec, seed=2, pretrained=False)
    key = "features.0.weight"
    assert torch.equal(loaded.model.state_dict()[key], model.state_dict()[key])
    assert not torch.equal(fresh.model.state_dict()[key], model.state_dict()[key])
    assert fresh.weights_report.loaded == ()


def test_published_weights_come_from_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    with no_initialization():
        built = get_model("googlenet", aux_logits=False, init_weights=False)
    source = {name: torch.zeros_like(value) for name, value in built.state_dict().items()}
    source["aux1.conv.conv.weight"] = torch.zeros(1)
    asked = {}

    def download(url: str, **options: object) -> dict[str, Tensor]:
        asked.update(options, url=url)
        return dict(source)

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    backbone = create_backbone(BackboneSpec("googlenet", "DEFAULT", 32))
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
    assert backbone.model.transform_input is True
    assert backbone.weights_report.unexpected == ("aux1.conv.conv.weight",)
    assert backbone.weights_report.missing == ()


class Shallow(VisionTransformer):
    """Of one layer instead of twelve."""

    def __init__(self, *, num_layers: int, **given: Any) -> None:
        super().__init__(num_layers=1, **given)


def test_position_embeddings_follow_the_image_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.pt"
    monkeypatch.setattr("torchvision.models.vision_transformer.VisionTransformer", Shallow)
    with no_initialization():
        source = get_model("vit_b_32", image_size=64).requires_grad_(requires_grad=False)
        for parameter in source.parameters():
            parameter.zero_()
        source.get_parameter("encoder.pos_embedding").normal_()
        torch.save(source.state_dict(), file)
        backbone = create_backbone(BackboneSpec("vit_b_32", str(file), 96))
    positions = backbone.model.state_dict()["encoder.pos_embedding"]
    assert positions.shape == (1, 10, 768)
    assert torch.equal(positions[:, 0], source.state_dict()["encoder.pos_embedding"][:, 0])
    assert backbone.weights_report.missing == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (BackboneSpec("resnet19"), "Did you mean 'resnet1"),
        (BackboneSpec("resnet19"), "frostline backbones"),
        (BackboneSpec("resnet18", "IMAGENET1K_V9"), "IMAGENET1K_V1.*none"),
        (BackboneSpec("resnet18", "missing.pt"), "does not exist"),
        (BackboneSpec("resnet18", "folder/missing.bin"), "does not exist"),
        (BackboneSpec("vit_b_16", "none", 100), "multiple of 16. Try --image-size 96"),
        (BackboneSpec("maxvit_t", "none", 256), "multiple of 224. Try --image-size 224"),
        (BackboneSpec("inception_v3", "none", 64), "at least 75 px. Try --image-size 75"),
        (BackboneSpec("alexnet", "none", 32), "Try --image-size 63"),
        (BackboneSpec("resnet18", "none", 4), "Try --image-size 16"),
    ],
)
def test_wrong_input(spec: BackboneSpec, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_backbone(spec)
    with pytest.raises(InvalidInputError, match=message):
        create_backbone(spec)


def test_all_faults_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_backbone(BackboneSpec("alexnet", "nothing.pt", 8))
    assert len(caught.value.faults) == 2


def test_table_is_what_torchvision_publishes() -> None:
    info = {info.name: info for info in backbone_table()}["resnet18"]
    assert (info.parameters, info.image_size, info.min_image_size) == (11_689_512, 224, 16)
    assert info.gflops == pytest.approx(3.63, abs=0.01)
    assert info.weights == ("IMAGENET1K_V1",)


@pytest.mark.parametrize(
    ("file", "name", "missing", "warns"),
    [
        ("mobilenet_v2_imagenet", "mobilenet_v2", set(), False),
        ("squeezenet1_1_imagenet", "squeezenet1_1", set(), False),
        ("mobilenet_v2_inat_bird_backbone", "mobilenet_v2", {"classifier"}, False),
        ("shufflenet_v2_x0_5_backbone", "shufflenet_v2_x0_5", {"conv5", "fc"}, True),
    ],
)
def test_real_weights_load(file: str, name: str, missing: set[str], warns: bool) -> None:
    path = DATA / "weights" / f"{file}.safetensors"
    if not path.exists():
        pytest.skip(f"{path.name} is not in $FROSTLINE_TEST_DATA/weights")
    report = create_backbone(BackboneSpec(name, str(path), 64)).weights_report
    assert {key.split(".")[0] for key in report.missing if not key.endswith("num_batches_tracked")} == missing
    assert (report.warning is not None) == warns
    assert report.unexpected == report.left_out == ()


def test_weights_of_another_network_say_which() -> None:
    path = DATA / "weights" / "resnet20_cifar10.safetensors"
    if not path.exists():
        pytest.skip(f"{path.name} is not in $FROSTLINE_TEST_DATA/weights")
    with pytest.raises(InvalidInputError, match="cifar_resnet20"):
        create_backbone(BackboneSpec("resnet18", str(path), 64))
