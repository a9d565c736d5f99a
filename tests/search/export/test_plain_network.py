"""The nodes of a script's network, and the code of its head."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from frostline.objectives.backbones import create_backbone
from frostline.objectives.config import BackboneSpec, HeadConfig
from frostline.objectives.networks import head_for
from frostline.search.export.plain_head import describe_head
from frostline.search.export.plain_network import feature_names, feature_nodes, tracer

SIZE = 64


@pytest.mark.parametrize(
    "name",
    [
        *("squeezenet1_1", "resnet18", "timm:test_vit"),
        *(pytest.param(large, marks=pytest.mark.slow) for large in ("shufflenet_v2_x0_5", "densenet121")),
    ],
)
@pytest.mark.parametrize("depths", [1, 4])
def test_there_is_a_node_for_every_unit_that_a_head_sees(name: str, depths: int) -> None:
    backbone = create_backbone(BackboneSpec(name, "none", SIZE), pretrained=False).with_depths(depths)
    backbone.model.eval()
    nodes = feature_nodes(backbone, SIZE)
    assert len(feature_names(backbone)) == len(nodes) == depths
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        extractor = create_feature_extractor(backbone.model, nodes, tracer_kwargs=tracer(name))
        found, last = extractor(images), len(backbone.units)
        for node, units in zip(nodes, range(last - depths + 1, last + 1), strict=True):
            torch.testing.assert_close(found[node], backbone.segment(0, units)(images))


@pytest.mark.parametrize("pooling", ["avg", "avgmax"])
@pytest.mark.parametrize(("name", "depths"), [("squeezenet1_1", 3), ("timm:test_vit", 2), ("squeezenet1_1", 1)])
def test_the_code_of_a_head_builds_it(name: str, depths: int, pooling: str, tmp_path: Path) -> None:
    backbone = create_backbone(BackboneSpec(name, "none", SIZE), pretrained=False).with_depths(depths)
    config = HeadConfig.model_validate({"pooling": pooling, "hidden_layers": 1, "normalization": "layer"})
    code = describe_head(config, backbone, classes=5)
    header = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor, nn\n"
    header += "from collections.abc import *\nfrom typing import *\n"
    (tmp_path / "head.py").write_text(f"{header}{code.parts}\nhead = nn.Sequential({', '.join(code.layers)})\n")
    head, expected = runpy.run_path(str(tmp_path / "head.py"))["head"], head_for(backbone, config, 5)
    assert isinstance(head, nn.Sequential)
    head.load_state_dict(expected.state_dict())
    with torch.no_grad():
        features = backbone.prefix(len(backbone.units))(torch.randn(2, 3, SIZE, SIZE))
        torch.testing.assert_close(head.eval()(features), expected.eval()(features), rtol=0, atol=0)
