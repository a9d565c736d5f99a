"""Heads: shapes, poolings and initializations against plain formulas."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from frostline.objectives.config import HeadConfig
from frostline.objectives.networks.heads import (
    ACTIVATIONS,
    NORMALIZATIONS,
    POOLINGS,
    CosineLinear,
    Dropout,
    GeMPool,
    create_head,
)

SHAPE = (6, 4, 4)


@pytest.mark.parametrize(
    ("pooling", "hidden", "normalization"), [*itertools.product(POOLINGS, range(3), ["none", *NORMALIZATIONS])]
)
def test_every_head_gives_logits_and_trains(pooling: str, hidden: int, normalization: str):
    head = create_head(
        HeadConfig.model_validate(
            {"pooling": pooling, "hidden_layers": hidden, "width": 5, "normalization": normalization, "dropout": 0.2}
        ),
        SHAPE,
        num_classes=7,
    )
    logits = head(torch.randn(4, *SHAPE))
    assert logits.shape == (4, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert sum(isinstance(layer, nn.Linear) for layer in head) == hidden + 1


def test_gem_lies_between_mean_and_maximum_and_learns_its_exponent():
    features = torch.rand(2, *SHAPE) + 0.1
    pool = GeMPool(1.0)
    torch.testing.assert_close(pool(features), features.mean(dim=(2, 3)))
    torch.testing.assert_close(GeMPool(50.0)(features), features.amax(dim=(2, 3)), rtol=0.06, atol=0)
    pool(features).sum().backward()
    assert pool.p.grad is not None
    assert pool.p.grad.abs() > 0


def test_a_cosine_output_is_the_scaled_cosine_whatever_the_length_of_the_features():
    head = create_head(HeadConfig(output="cosine"), (9,), 3)
    output = head[-1]
    assert isinstance(output, CosineLinear)
    features = torch.randn(4, 9)
    cosines = nn.functional.cosine_similarity(features[:, None], output.weight[None], dim=2)
    torch.testing.assert_close(head(features), 16.0 * cosines)
    torch.testing.assert_close(head(5 * features), head(features))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("shape", [(50, 8), (7, 7, 8)], ids=["tokens", "channels last"])
def test_tokens_and_maps_with_the_channels_last_are_pooled_over_their_places(pooling: str, shape: tuple[int, ...]):
    head = create_head(HeadConfig.model_validate({"pooling": pooling, "output": "cosine"}), shape, 3)
    features = torch.rand(2, *shape)
    places = features.reshape(2, -1, 8).movedim(2, 1)
    torch.testing.assert_close(head[:-1](features), POOLINGS[pooling]()(places[..., None]))


@pytest.mark.parametrize(
    ("pooling", "reference"),
    [
        ("avg", lambda x: x.flatten(2).mean(2)),
        ("max", lambda x: x.flatten(2).max(2).values),
        ("avgmax", lambda x: torch.cat([x.flatten(2).mean(2), x.flatten(2).max(2).values], 1)),
        ("flatten", lambda x: x.reshape(len(x), -1)),
        ("gem", lambda x: (x.clamp(min=1e-6) ** 3).flatten(2).mean(2) ** (1 / 3)),
    ],
)
def test_pooling(pooling: str, reference):
    features = torch.randn(2, *SHAPE)
    torch.testing.assert_close(POOLINGS[pooling]()(features), reference(features))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_not_pooled(pooling: str):
    head = create_head(HeadConfig.model_validate({"pooling": pooling}), (9,), 3)
    output = head[-1]
    assert isinstance(output, nn.Linear)
    assert output.in_features == 9


def test_zeros_give_uniform_predictions_and_learn_hidden_layers_later():
    head = create_head(HeadConfig(init="zeros", hidden_layers=1), SHAPE, 4)
    assert torch.equal(head(torch.randn(5, *SHAPE)), torch.zeros(5, 4))
    hidden = next(layer for layer in head if isinstance(layer, nn.Linear))
    assert hidden.weight.abs().sum() > 0


@pytest.mark.parametrize("init", ["xavier", "kaiming"])
def test_scaled_initializations_have_their_variance(init: str):
    torch.manual_seed(0)
    head = create_head(HeadConfig.model_validate({"init": init}), (2000,), 1000)
    output = head[-1]
    assert isinstance(output, nn.Linear)
    expected = 2 / 3000 if init == "xavier" else 2 / 2000
    assert output.weight.var().item() == pytest.approx(expected, rel=0.02)
    assert not output.bias.any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_stand_after_each_hidden_layer(activation: str):
    head = create_head(HeadConfig.model_validate({"activation": activation, "hidden_layers": 2}), SHAPE, 2)
    assert sum(type(layer) is type(ACTIVATIONS[activation]()) for layer in head) == 2


def test_dropout_drops_its_share_and_keeps_the_mean():
    dropout = Dropout(0.3)
    torch.manual_seed(0)
    ones = torch.ones(400, 500)
    dropped = dropout(ones)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.005)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert torch.equal(dropout.eval()(ones), ones)


def test_masks_of_two_probabilities_come_from_the_same_numbers():
    ones = torch.ones(50, 60)
    masks = []
    for probability in (0.2, 0.6):
        torch.manual_seed(0)
        masks.append(Dropout(probability)(ones) > 0)
    low, high = masks
    assert bool((low | ~high).all())
    assert int(high.sum()) < int(low.sum())
