"""Auto-RGN: rates by relative gradient norms, against numbers by hand and a loop by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frostline.objectives.config import TrialConfig
from frostline.objectives.finetune import finetune
from frostline.objectives.networks import create_head
from frostline.objectives.training import epoch_batches
from frostline.objectives.training.relative_gradients import relative_norm, shares_of_rates

from ..strategies.test_more_strategies import assert_same, run
from ..strategies.test_plateaus import normalized
from ..strategies.test_strategies import UNITS, config
from ..tiny import fresh_pool, own_task, task


def test_two_layers_by_hand():
    """The loss (3 * 2 x - 2)^2 / 2 at x = 1 has the gradients 4 * 3 and 4 * 2: relative to 2 and 3, 6 and 8 / 3."""
    first, second = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([3.0]))
    ((second * first - 2) ** 2 / 2).sum().backward()
    norms = {"first": relative_norm([first]), "second": relative_norm([second])}
    assert norms == pytest.approx({"first": 6.0, "second": 8 / 3})
    assert shares_of_rates([norms]) == pytest.approx({"first": 1.0, "second": 4 / 9})


def test_a_unit_counts_as_one_vector():
    """Gradients 3 and 4 have the norm 5, the values 6, 0 and 8 the norm 10; what has no gradient does not move."""
    parts = [nn.Parameter(torch.tensor([value])) for value in (6.0, 0.0, 8.0)]
    for part, gradient in zip(parts[:2], (3.0, 4.0), strict=True):
        part.grad = torch.tensor([gradient])
    assert relative_norm(parts) == pytest.approx(0.5)


def test_norms_are_averaged_before_they_are_compared():
    assert shares_of_rates([{"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 0.0}]) == pytest.approx({"a": 1.0, "b": 0.25})


def test_where_nothing_can_be_compared():
    zero = nn.Parameter(torch.zeros(2))
    zero.grad = torch.ones(2)
    assert relative_norm([zero]) == 0.0
    assert relative_norm([]) == 0.0
    assert shares_of_rates([{"a": 0.0, "b": 0.0}]) == {"a": 1.0, "b": 1.0}


def by_hand(configuration: TrialConfig, seed: int) -> tuple[list[dict[str, float]], list[float]]:
    """Rates of the units and validation loss of each epoch, by plain torch."""
    backbone = fresh_pool().fresh(pretrained=True, seed=0)
    torch.manual_seed(seed)
    head = create_head(configuration.head, backbone.units[-1].output_shape, 3)
    units = [backbone.segment(place, place + 1) for place in range(UNITS)]
    network, peak = nn.Sequential(*units, head), configuration.learning_rate * configuration.backbone_lr_ratio
    work = task()
    images, val = normalized(work.train), normalized(work.val)
    labels, val_labels = torch.from_numpy(work.train.labels), torch.from_numpy(work.val.labels)
    groups = [{"params": list(unit.parameters()), "lr": 0.0} for unit in units]
    optimizer = torch.optim.SGD(
        [*groups, {"params": list(head.parameters()), "lr": configuration.learning_rate}], momentum=0.9, nesterov=True
    )
    rates, losses = [], []
    for epoch in range(configuration.epochs):
        batches = list(epoch_batches(configuration, labels, seed, epoch))
        assert len(batches) > 5
        network.eval()
        sums = torch.zeros(UNITS)
        for batch in batches[:5]:
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            for place, unit in enumerate(units):
                gradients = torch.autograd.grad(loss, list(unit.parameters()), retain_graph=True)
                gradient, value = (
                    torch.cat([part.flatten() for part in all]) for all in (gradients, unit.parameters())
                )
                sums[place] += gradient.norm() / value.detach().norm()
        shares = (sums / sums.max()).tolist()
        for place, share in enumerate(shares):
            optimizer.param_groups[place]["lr"] = peak * share
        rates.append({f"unit {place:02d}": peak * share for place, share in enumerate(shares)})
        network.train()
        for batch in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            losses.append(float(F.cross_entropy(network(val), val_labels)))
    return rates, losses


def test_each_epoch_trains_at_the_rates_of_its_own_gradients():
    configuration = config("auto_rgn", optimizer="sgd", schedule="constant", batch_size=4, epochs=3)
    rates, losses = by_hand(configuration, seed=2)
    result = finetune(configuration, own_task(), seed=2)
    for found, expected, loss in zip(result.epochs, rates, losses, strict=True):
        own = dict(found.learning_rates)
        assert own.pop("head") == configuration.learning_rate
        assert own == pytest.approx(expected, rel=2e-3)
        assert found.val_loss == pytest.approx(loss, rel=1e-3)
    assert rates[0] != pytest.approx(rates[1], rel=0.05), "the comparison needs rates that change"
    assert max(rates[0].values()) == pytest.approx(configuration.learning_rate * configuration.backbone_lr_ratio)
    assert min(rates[0].values()) < 0.5 * max(rates[0].values())


def test_a_single_unit_is_full():
    """It is the largest, so it trains at its whole rate; looking at its gradients changes nothing."""
    values = {"truncate": UNITS - 1, "head.dropout": 0.3, "augmentation": "flip_crop"}
    assert_same(run("auto_rgn", **values), run("full", **values))


def test_pieces_of_a_batch_come_to_the_rates_of_the_whole():
    configuration = config("auto_rgn", batch_norm="eval", epochs=1, schedule="constant")
    whole, divided = (
        finetune(configuration, replace(own_task(), micro_batches=pieces), seed=0).epochs[0] for pieces in (1, 2)
    )
    assert divided.learning_rates == pytest.approx(whole.learning_rates, rel=1e-4)
