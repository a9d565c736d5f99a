"""Model stock against geometry: where the nearest point to the center of the fine-tuned weights lies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from frostline.objectives.networks.model_stock import model_stock, stock_ratio


def at_equal_angles(count: int, cosine: float) -> Tensor:
    """Rows of length 2, with the same angle between any two."""
    gram = torch.full((count, count), cosine, dtype=torch.float64).fill_diagonal_(1.0)
    return 2 * torch.linalg.cholesky(gram)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_parallel_differences_keep_the_mean_and_orthogonal_ones_the_pretrained_weights(count: int):
    assert stock_ratio([torch.tensor([0.3, -2.0])] * count) == pytest.approx(1.0)
    assert stock_ratio(list(torch.eye(count))) == 0.0


def test_opposite_differences_have_nothing_in_common():
    assert stock_ratio([torch.tensor([1.0, 0.5]), torch.tensor([-1.0, -0.5])]) == 0.0


@pytest.mark.parametrize(("degrees", "expected"), [(60, 2 / 3), (45, 2 * math.sqrt(0.5) / (1 + math.sqrt(0.5)))])
def test_two_networks_by_hand(degrees: int, expected: float):
    angle = math.radians(degrees)
    differences = [torch.tensor([1.0, 0.0]), torch.tensor([3 * math.cos(angle), 3 * math.sin(angle)])]
    assert stock_ratio(differences) == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("cosine", [0.2, 0.7])
def test_the_stock_is_the_foot_of_the_center(count: int, cosine: float):
    """The paper's condition: seen from the stock, pretrained weights and center are at a right angle.

    Fine-tuned weights lie around a center c at right angles to their own distance from it: for each, (w - c) . (c - 0)
    = 0 for pretrained weights at 0, and (w_i - c) . (w_j - c) = 0. So w . w' = |c|^2 for two, and c's part in the
    space of the weights is what the stock shall be.
    """
    weights = at_equal_angles(count, cosine)
    ratio = stock_ratio(list(weights))
    found = ratio * weights.mean(dim=0)
    # The center: c . w_i = |c|^2 with |c|^2 = w_i . w_j; its foot in the span of the weights solves W x = |c|^2.
    square = torch.full((count,), float(weights[0] @ weights[1]), dtype=torch.float64)
    foot = torch.linalg.lstsq(weights, square.unsqueeze(1)).solution.squeeze(1)
    torch.testing.assert_close(found, foot, rtol=1e-8, atol=1e-10)


def test_each_tensor_has_a_ratio_of_its_own_and_the_head_is_the_mean():
    pretrained = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([0.0, 2.0]), "c": torch.tensor([5.0])}
    first = {"a": torch.tensor([2.0, 1.0]), "b": torch.tensor([1.0, 2.0]), "c": torch.tensor([5.0])}
    second = {"a": torch.tensor([4.0, 1.0]), "b": torch.tensor([0.0, 4.0]), "c": torch.tensor([5.0])}
    heads = [{"head": torch.tensor([1.0, 5.0])}, {"head": torch.tensor([3.0, -1.0])}]
    stock = model_stock(pretrained, [first | heads[0], second | heads[1]])
    assert stock is not None
    found = {name: value.tolist() for name, value in stock.items()}
    assert found == {"a": [3.0, 1.0], "b": [0.0, 2.0], "c": [5.0], "head": [2.0, 2.0]}


def test_frozen_networks_and_moved_statistics_have_no_stock():
    frozen = {"a": torch.ones(2)}
    assert (
        model_stock(frozen, [{"a": torch.ones(2), "head": torch.tensor([float(place)])} for place in range(2)]) is None
    )
    norm = {"a": torch.ones(2), "norm.running_mean": torch.zeros(2)}
    tuned = [{"a": torch.ones(2) + place, "norm.running_mean": torch.full((2,), float(place))} for place in range(2)]
    assert model_stock(norm, tuned) is None
