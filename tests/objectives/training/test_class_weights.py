"""Balanced class weights: every class has the same share of the loss, whatever classes the batches hold.

Mixed losses are compared with torch's in ``tests/objectives/augmentation/test_mixing.py``.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.populations.population_loop import cross_entropies
from frostline.objectives.training import loop
from frostline.objectives.training.loop import create_criterion

LABELS = torch.tensor([0] * 800 + [1] * 150 + [2] * 50)
BATCHES = [1, 2, 4, 8, 16, 32, 64]


def batches(size: int) -> tuple[Tensor, ...]:
    return torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(size)).split(size)


def config(weights: str = "balanced") -> TrialConfig:
    return create_config({"strategy": "full", "class_weights": weights})


def shares(of_class: Tensor) -> list[float]:
    return (of_class / of_class.sum()).tolist()


def pulled(logits: Tensor, labels: Tensor) -> Tensor:
    """Pull of each class on logits of 0, by the gradient: all images of one weight pull equally."""
    assert logits.grad is not None
    return torch.zeros(3).index_add(0, labels, logits.grad.norm(dim=-1))


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("size", BATCHES)
def test_every_class_has_a_third_of_the_loss(size: int, pieces: int):
    criterion, pulls = create_criterion(config(), LABELS), torch.zeros(3)
    for batch in batches(size):
        labels, logits = LABELS[batch], torch.zeros(len(batch), 3, requires_grad=True)
        for piece in loop._pieces(len(batch), pieces):
            loop._share_of_loss(criterion, logits[piece], piece, labels).backward()
        # A last batch of fewer images takes a step of the same size: counted by its images here.
        pulls += len(batch) * pulled(logits, labels)
    assert shares(pulls) == pytest.approx([1 / 3] * 3, rel=0.01)


@pytest.mark.parametrize("size", BATCHES)
def test_every_class_has_a_third_of_the_loss_of_a_population(size: int):
    criteria = [create_criterion(config(weights), LABELS) for weights in ("balanced", "none")]
    weights = torch.stack([torch.ones(3) if each.weight is None else each.weight for each in criteria])
    pulls = torch.zeros(2, 3)
    for batch in batches(size):
        logits = torch.zeros(2, len(batch), 3, requires_grad=True)
        cross_entropies(logits, LABELS[batch], weights, torch.zeros(2)).sum().backward()
        assert logits.grad is not None
        pulls += len(batch) * torch.zeros(2, 3).index_add(1, LABELS[batch], logits.grad.norm(dim=-1))
    assert shares(pulls[0]) == pytest.approx([1 / 3] * 3, rel=0.01)
    assert shares(pulls[1]) == pytest.approx([0.8, 0.15, 0.05], rel=0.01), "without class weights"
