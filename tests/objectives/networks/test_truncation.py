"""Truncation: the last units are gone, for every strategy, and the head stands on what is left."""

from __future__ import annotations

import pytest
import torch

from frostline.objectives.backbones.backbone import create_backbone
from frostline.objectives.config import BackboneSpec, create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import finetune
from frostline.objectives.networks.heads import ToMap
from frostline.objectives.strategies import STRATEGIES
from frostline.objectives.strategies.plans import plan_phases

from ..backbones.initialization import no_initialization
from ..strategies.test_strategies import UNITS, config
from ..tiny import pool, task

DEPTH = {"partial": {"freeze_depth": 9}, "surgical": {"freeze_depth": 2, "trained_units": 3}}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_works_without_the_last_units(strategy: str):
    if strategy == "linear_probe_exact":
        configuration = create_config({"strategy": strategy, "truncate": 4})
    else:
        configuration = config(strategy, truncate=4, **DEPTH.get(strategy, {}))
    kept = list(pool().fresh(pretrained=True, seed=0).unit_tensors().values())[:-4]
    result = finetune(configuration, task(), seed=0)
    names = {name.replace("parametrizations.weight.original", "weight") for name in result.network.backbone_state()}
    assert {name for name in names if not name.endswith((".up", ".down"))} == {name for unit in kept for name in unit}
    assert result.certificates[-1].freeze_depth <= UNITS - 4


def test_the_head_sees_the_output_of_the_last_unit_that_is_left():
    result = finetune(create_config({"strategy": "linear_probe_exact", "truncate": 5}), task(), seed=0)
    channels = pool().pretrained.units[-6].output_shape[0]
    output = result.network.head[-1]  # type: ignore[index]
    assert output.in_features == channels
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        features = pool().fresh(pretrained=True, seed=0).segment(0, UNITS - 5).eval()(images)
        torch.testing.assert_close(result.network(images), result.network.head(features), rtol=1e-4, atol=1e-5)


def test_depth_counts_what_is_left():
    assert plan_phases(config("feature_extraction", truncate=4), UNITS)[0].freeze_depth == UNITS - 4
    with pytest.raises(
        InvalidInputError, match=r"between 1 and 13 \(this backbone has 18 units and truncate drops 4\)"
    ):
        plan_phases(config("partial", truncate=4, freeze_depth=14), UNITS)


@pytest.mark.parametrize("dropped", [18, 99])
def test_truncation_past_the_first_unit_is_refused(dropped: int):
    with pytest.raises(InvalidInputError, match="truncate must be below 18, since one unit must stay"):
        plan_phases(config("full", truncate=dropped), UNITS)


@pytest.mark.parametrize(("name", "dropped"), [("vit_b_32", 5), ("swin_t", 3)])
def test_what_transformers_give_in_between_can_carry_a_head(name: str, dropped: int):
    with no_initialization():
        backbone = create_backbone(BackboneSpec(name, "none", 32)).truncated(dropped)
    arrange = ToMap(backbone.units[-1].output_shape)
    with torch.no_grad():
        features = backbone.segment(0, len(backbone.units))(torch.randn(2, 3, 32, 32))
    assert arrange.turns
    assert arrange(features).shape == (2, *arrange.shape)
    assert arrange.shape[0] == features.shape[-1]
