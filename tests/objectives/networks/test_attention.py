"""Attention pooling: torch's own attention, the average that it starts from, and the tokens that it sees."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.objectives.backbones.backbone import Backbone, create_backbone
from frostline.objectives.config import BackboneSpec, HeadConfig, TrialConfig, create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import finetune
from frostline.objectives.networks.attention import AttentionPool
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.networks.heads import head_for, seen_by_head
from frostline.objectives.networks.network import Network
from frostline.objectives.strategies import plan_phases, plan_trial

from ..tiny import own_task, task

TRANSFORMER = BackboneSpec("tiny_network:create_transformer", "none", 32)

# One image's features, and the order of axes that makes tokens (N, L, C) of them.
SHAPES = {"map": ((6, 4, 4), (0, 2, 3, 1)), "channels last": ((4, 4, 6), (0, 1, 2, 3)), "tokens": ((9, 6), (0, 1, 2))}


def random_pool(shape: tuple[int, ...], queries: int) -> AttentionPool:
    pool = AttentionPool(shape, queries).double()
    for parameter in pool.parameters():
        nn.init.normal_(parameter)
    return pool


@pytest.mark.parametrize("queries", [1, 3, 4, 9])
@pytest.mark.parametrize("layout", SHAPES)
def test_it_is_torchs_attention_of_each_query_to_its_own_values(layout: str, queries: int):
    shape, order = SHAPES[layout]
    torch.manual_seed(0)
    pool, features = random_pool(shape, queries), torch.randn(2, *shape, dtype=torch.float64)
    tokens = features.permute(order).reshape(2, -1, 6)
    expected = [
        F.scaled_dot_product_attention(query.expand(2, 1, 6), tokens, tokens @ values.T)
        for query, values in zip(pool.queries, pool.values, strict=True)
    ]
    torch.testing.assert_close(pool(features), torch.cat(expected, dim=2).squeeze(1), rtol=1e-12, atol=1e-12)
    assert pool(features).shape == (2, queries * math.ceil(6 / queries))


@pytest.mark.parametrize("queries", [1, 3, 4])
def test_it_starts_as_the_global_average(queries: int):
    features = torch.randn(5, 6, 4, 4)
    pooled = AttentionPool((6, 4, 4), queries)(features)
    torch.testing.assert_close(pooled[:, :6], features.mean(dim=(2, 3)))
    # Columns beyond the channels are 0, until they learn.
    assert not pooled[:, 6:].any()


def test_gradients_are_those_of_finite_differences_and_reach_a_query_of_zeros():
    torch.manual_seed(0)
    pool, features = random_pool((4, 6), 4), torch.randn(2, 4, 6, dtype=torch.float64)
    inputs = (features.requires_grad_(), pool.queries, pool.values)
    assert torch.autograd.gradcheck(lambda *_: pool(features), inputs)
    fresh = AttentionPool((6, 4, 4), 3)
    fresh(torch.randn(5, 6, 4, 4)).square().sum().backward()
    for parameter in fresh.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().amax(dim=-1).gt(0).all()


def test_it_learns_where_to_look():
    """The class is the sign of a channel at the one place that another channel marks: averages hardly tell it."""
    torch.manual_seed(0)
    tokens = torch.randn(300, 16, 4)
    places, labels = torch.randint(16, (300,)), torch.arange(300) % 2
    tokens[torch.arange(300), places, 0] += 6
    tokens[torch.arange(300), places, 1] = 2.0 * labels - 1
    learned: dict[str, float] = {}
    for name, pool in {"average": nn.Identity(), "attention": AttentionPool((16, 4), 2)}.items():
        output = nn.Linear(4, 2)
        optimizer = torch.optim.Adam([*pool.parameters(), *output.parameters()], lr=0.03)

        def logits(pool: nn.Module = pool, output: nn.Module = output) -> Tensor:
            return output(pool(tokens).reshape(len(tokens), -1, 4).mean(dim=1))

        for _ in range(150):
            optimizer.zero_grad()
            F.cross_entropy(logits(), labels).backward()
            optimizer.step()
        learned[name] = float((logits().argmax(dim=1) == labels).float().mean())
    assert learned["attention"] > 0.95
    assert learned["average"] < 0.75


def transformer() -> tuple[Any, Backbone]:
    backbone = create_backbone(TRANSFORMER)
    return backbone.model, backbone


def outputs(model: nn.Module, modules: list[nn.Module], images: Tensor) -> list[Tensor]:
    """Outputs of modules of an uncut network, by hooks."""
    found: list[Tensor] = []
    hooks = [each.register_forward_hook(lambda _, __, output: found.append(output.clone())) for each in modules]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def test_a_transformer_gives_its_class_token_and_to_attention_all_its_tokens():
    model, backbone = transformer()
    images = torch.randn(2, 3, 32, 32)
    (tokens,) = outputs(model, [model.norm], images)
    assert tokens.shape == (2, 17, 16)
    for pooling, expected in (("avg", tokens[:, 0]), ("attention", tokens)):
        config = HeadConfig.model_validate({"pooling": pooling, "queries": 4})
        seen = seen_by_head(backbone, config)
        features = seen.prefix(len(seen.units))(images)
        torch.testing.assert_close(features, expected)
        assert features.shape[1:] == seen.units[-1].output_shape
        logits = head_for(seen, config, 3)(features)
        assert logits.shape == (2, 3)
    # The suffix that trains ends there too, and what is frozen before is the same.
    attended = seen_by_head(backbone, HeadConfig(pooling="attention"))
    torch.testing.assert_close(attended.segment(2, 4)(attended.segment(0, 2)(images)), tokens)
    assert attended.segment(0, 2) is backbone.segment(0, 2)
    assert seen_by_head(backbone.truncated(1), HeadConfig(pooling="attention")).units == backbone.units[:-1]


def test_several_depths_are_the_pooled_outputs_of_the_last_units_of_the_uncut_network():
    model, backbone = transformer()
    images = torch.randn(2, 3, 32, 32)
    first, second, last = outputs(model, [*model.layers[:2], model.norm], images)
    for pooling, pool in (("avg", lambda x: x.mean(dim=1)), ("max", lambda x: x.amax(dim=1))):
        config = HeadConfig.model_validate({"pooling": pooling, "depths": 3})
        seen = seen_by_head(backbone, config)
        head = head_for(seen, config, 5)
        expected = torch.cat([pool(first), pool(second), last[:, 0]], dim=1)
        torch.testing.assert_close(head[:-1](seen.prefix(4)(images)), expected)
    assert seen_by_head(backbone, HeadConfig()).prefix(4) is backbone.segment(0, 4)


@pytest.mark.parametrize(
    ("head", "stored"),
    [({"pooling": "attention", "queries": 8}, (17, 16)), ({"depths": 3}, (48,))],
    ids=["attention", "depths"],
)
def test_a_transformers_tokens_are_cached_and_give_the_same_numbers_bit_for_bit(
    head: dict[str, object], stored: tuple[int, ...]
):
    config = TrialConfig.model_validate({"strategy": "feature_extraction", "epochs": 3, "batch_size": 8, "head": head})
    pool = BackbonePool(TRANSFORMER)
    every = [finetune(config, replace(task(budget), backbones=pool), seed=0) for budget in (2**30, 0)]
    first, second = ([(epoch.train_loss, epoch.val_loss) for epoch in each.epochs] for each in every)
    assert first == second
    assert first[-1][0] < first[0][0]
    assert every[0].network.prefix(torch.randn(2, 3, 32, 32)).shape == (2, *stored)


def test_a_frozen_prefix_stores_several_depths_as_vectors():
    work = own_task(train=8, val=6)
    values = {"strategy": "feature_extraction", "epochs": 1, "head": {"depths": 5, "pooling": "avgmax"}}
    network = finetune(TrialConfig.model_validate(values), work, seed=0).network
    images = torch.randn(3, 3, 32, 32)
    model = work.backbones.pretrained.model
    parts = outputs(model, [*model.get_submodule("blocks").children()][-5:], images)
    pooled = [torch.cat([each.mean(dim=(2, 3)), each.amax(dim=(2, 3))], dim=1) for each in parts]
    torch.testing.assert_close(network.prefix(images), torch.cat(pooled, dim=1), rtol=1e-4, atol=1e-5)
    assert len(network.pooled_head) == 1


@pytest.mark.parametrize(("cut", "depths"), [(2, 4), (2, 2), (0, 5), (4, 2)])
def test_a_head_sees_several_units_that_train_and_the_frozen_one_before_them(cut: int, depths: int):
    work = own_task(train=8, val=6)
    values = {"strategy": "lp_ft", "freeze_depth": cut, "epochs": 2, "batch_norm": "train", "head.depths": depths}
    network = finetune(create_config(values), work, seed=0).network.eval()
    images = torch.randn(3, 3, 32, 32)
    model = create_backbone(work.backbones.spec).model
    model.load_state_dict(network.backbone_state(), strict=False)
    parts = outputs(model.eval(), [*model.get_submodule("blocks").children()][-depths:], images)
    pooled = torch.cat([each.mean(dim=(2, 3)) for each in parts], dim=1)
    expected = F.linear(pooled, *(network.head[-1].get_parameter(name) for name in ("weight", "bias")))
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_unit_that_the_head_sees_directly():
    work = own_task(train=8, val=6)
    backbone = seen_by_head(work.backbones.fresh(pretrained=True, seed=0), HeadConfig(depths=3))
    (phase,) = plan_phases(create_config({"strategy": "full", "head.depths": 3}), len(backbone.units))
    head = head_for(backbone, HeadConfig(depths=3), 2)
    network, images = Network(backbone, phase, head), torch.randn(2, 3, 32, 32)
    sizes = [unit.output_shape[0] for unit in backbone.units[-3:]]
    with torch.no_grad():
        # The head reads nothing of the last two units: they get no gradient, and those before do.
        head[-1].get_parameter("weight")[:, sizes[0] :] = 0
    network(images).sum().backward()
    moved = [any(value.grad is not None and value.grad.any() for value in unit.parameters()) for unit in network.suffix]
    assert moved == [True] * (len(backbone.units) - 2) + [False, False]


def test_a_plan_lets_a_head_see_what_it_can_reach():
    def seen(**values: object) -> int:
        return plan_trial(create_config({"head.depths": 8, **values}), units=10).config.head.depths

    assert seen(strategy="full") == seen(strategy="lp_ft", epochs=4) == seen(strategy="feature_extraction") == 8
    assert [seen(strategy="partial", freeze_depth=cut) for cut in (1, 3, 4, 9)] == [8, 8, 7, 2]
    assert seen(strategy="lp_ft", epochs=4, freeze_depth=7) == 4
    assert seen(strategy="feature_extraction", truncate=5) == 5
    assert seen(strategy="partial", freeze_depth=4, truncate=2) == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "gradual_unfreezing", "head": {"depths": 2}}, "gradual_unfreezing takes no head.depths"),
        (
            {"strategy": "partial", "freeze_depth": 3, "head": {"depths": 4}},
            "at most 3 here, the trained units and .* 4",
        ),
        ({"strategy": "feature_extraction", "head": {"depths": 2, "pooling": "gem"}}, "needs a head.pooling of 'avg'"),
        ({"strategy": "feature_extraction", "head": {"depths": 2, "pooling": "attention"}}, "or head.depths = 1"),
        ({"strategy": "feature_extraction", "head": {"depths": 4}, "truncate": 2}, "at most 3, .* got 4"),
        ({"strategy": "linear_probe_exact", "head": {"pooling": "attention"}}, "learns queries"),
    ],
)
def test_what_cannot_be_is_refused_by_the_plan(values: dict[str, object], message: str):
    with pytest.raises(InvalidInputError, match=message):
        plan_phases(TrialConfig.model_validate(values), units=5)


def test_attention_to_vectors_alone_is_refused():
    backbone = create_backbone(BackboneSpec("odd_networks:vectors_last", "none", 32))
    assert [unit.output_shape for unit in backbone.units] == [(6,), (8,), (8,)]
    with pytest.raises(InvalidInputError, match="the last unit, more, has none: set another pooling"):
        seen_by_head(backbone, HeadConfig(pooling="attention"))
    assert seen_by_head(backbone.truncated(2), HeadConfig(pooling="attention")).units[-1].output_shape == (6, 8, 8)
