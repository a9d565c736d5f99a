"""Networks as programs: any number of images, the network's own numbers, and a reason where a network cannot be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from frostline.objectives.backbones.backbone import bare_backbone
from frostline.objectives.config import BackboneSpec, HeadConfig
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks import programs
from frostline.objectives.networks.classifier import Classifier, PixelClassifier
from frostline.objectives.networks.heads import head_for, seen_by_head
from frostline.objectives.networks.programs import NotExportedError, make_program, write_onnx, write_program
from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


def classifier(name: str, size: int, **head: object) -> Classifier:
    config = HeadConfig.model_validate(head)
    backbone = seen_by_head(bare_backbone(BackboneSpec(name, "none", size)), config)
    layers = head_for(backbone, config, 5)
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.1)
    return Classifier(backbone.prefix(len(backbone.units)), layers, temperature=1.7).eval()


# Residual blocks, windows with a class of its own for attention, tokens, and heads with every kind of pooling.
NETWORKS = [
    ("tiny_network:create_many_units", 32, {"pooling": "gem"}),
    *(
        pytest.param(name, size, head, marks=pytest.mark.slow)
        for name, size, head in (
            ("tiny_network:create_transformer", 32, {"pooling": "attention", "queries": 6}),
            ("resnet18", 64, {"pooling": "avgmax", "output": "cosine"}),
            ("vit_b_32", 64, {}),
            ("tiny_network:create_transformer", 32, {"depths": 3}),
            ("swin_t", 64, {"pooling": "max"}),
            ("efficientnet_b0", 64, {"pooling": "flatten"}),
            ("timm:convnext_atto", 64, {}),
        )
    ),
]


@pytest.mark.parametrize(("name", "size", "head"), NETWORKS, ids=[str(each) for each in range(len(NETWORKS))])
def test_programs_give_the_numbers_of_the_network_for_any_number_of_images(
    tmp_path: Path, name: str, size: int, head: dict[str, object]
) -> None:
    network = classifier(name, size, **head)
    folded = network.folded()
    program = make_program(folded, torch.zeros(2, 3, size, size))
    copies = [
        write_program(program, tmp_path / "model.pt2"),
        write_onnx(program, tmp_path / "model.onnx", "images", {"classes": "[]"}),
    ]
    generator = torch.Generator().manual_seed(0)
    for count in (1, 2, 7):
        images = torch.randn(count, 3, size, size, generator=generator)
        with torch.no_grad():
            expected = network.head(network.backbone(images)) / 1.7
            for copy in (network, folded, *copies):
                assert torch.allclose(copy(images), expected, atol=1e-4)


def test_pixels_are_normalized_as_torchvision_does(tmp_path: Path) -> None:
    network = classifier("tiny_network:create_many_units", 32)
    given = Preprocessing(32, 36, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    normalize = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    whole = PixelClassifier(network, given).eval()
    copy = write_onnx(make_program(whole, pixels[:2]), tmp_path / "model.onnx", "pixels", {})
    with torch.no_grad():
        expected = network(normalize(pixels.permute(0, 3, 1, 2)))
        assert torch.allclose(whole(pixels), expected, atol=1e-5)
    assert torch.allclose(copy(pixels), expected, atol=1e-4)


class Undecided(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) if images.sum() > 0 else images.amax(dim=(2, 3))


def test_a_network_that_cannot_be_traced_says_why() -> None:
    with pytest.raises(NotExportedError) as raised:
        make_program(Undecided().eval(), torch.zeros(2, 3, 8, 8))
    assert str(raised.value).strip()
    assert "\n" not in str(raised.value)


def test_without_its_libraries_onnx_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_ONNX_LIBRARIES", ("onnx", "no_such_library"))
    program = make_program(nn.Flatten(), torch.zeros(2, 3, 8, 8))
    with pytest.raises(InvalidInputError, match=r"no_such_library: pip install 'frostline\[onnx\]'"):
        write_onnx(program, tmp_path / "model.onnx", "images", {})
    assert not list(tmp_path.iterdir())
