"""Heads: shapes, poolings and initialisations against plain formulas."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from frostline.objectives.config import HeadConfig
from frostline.objectives.heads import ACTIVATIONS, NORMALIZATIONS, POOLINGS, create_head

SHAPE = (6, 3, 4)


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


@pytest.mark.parametrize(
    ("pooling", "reference"),
    [
        ("avg", lambda x: x.flatten(2).mean(2)),
        ("max", lambda x: x.flatten(2).max(2).values),
        ("avgmax", lambda x: torch.cat([x.flatten(2).mean(2), x.flatten(2).max(2).values], 1)),
        ("flatten", lambda x: x.reshape(len(x), -1)),
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
def test_scaled_initialisations_have_their_variance(init: str):
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
