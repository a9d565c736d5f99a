"""Gradual unfreezing whose phases end by early stopping, against a loop written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frostline.objectives.config import TrialConfig
from frostline.objectives.data import ImageSplit
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import finetune
from frostline.objectives.networks import create_head
from frostline.objectives.strategies import Strategy, finetuning_phase, register_strategy
from frostline.objectives.strategies.plans import plan_phases
from frostline.objectives.training import batches_per_epoch, epoch_batches

from ..tiny import fresh_pool, own_task, task
from .test_strategies import UNITS, config

Epoch = tuple[str, float, float, float]


def plateaus(**values: object) -> TrialConfig:
    return config(
        "gradual_unfreezing", **{"unfreeze_every": 0, "patience": 1, "epochs": 9, "schedule": "linear", **values}
    )


def normalized(split: ImageSplit) -> torch.Tensor:
    return (torch.from_numpy(split.canvas[:, 2:34, 2:34]).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25


def by_hand(configuration: TrialConfig, seed: int) -> tuple[list[Epoch], list[torch.Tensor]]:
    """Phase, losses and rate of the head of each epoch, and the weights and buffers at the end.

    Nothing of the phases, networks, optimizers and loops under test: a plain network, frozen by hand.
    """
    backbone = fresh_pool().fresh(pretrained=True, seed=0)
    torch.manual_seed(seed)
    head = create_head(configuration.head, backbone.units[-1].output_shape, 3)
    units = [backbone.segment(place, place + 1) for place in range(UNITS)]
    body = nn.Sequential(*units, head)
    work, epochs, left = task(), [], configuration.epochs
    images, val = (normalized(part) for part in (work.train, work.val))
    for stage in range(UNITS + 1):
        trained = units[UNITS - stage :]
        body.requires_grad_(False)
        for part in (*trained, head):
            part.requires_grad_(True)
        groups = [
            {"params": list(head.parameters()), "peak": configuration.learning_rate},
            {
                "params": [value for unit in trained for value in unit.parameters()],
                "peak": configuration.learning_rate * configuration.backbone_lr_ratio,
            },
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0)
        steps, done = left * batches_per_epoch(len(images), configuration.batch_size), 0
        best, waited, kept = -1.0, 0, {}
        while left and waited < configuration.patience:
            body.eval()
            for part in (*trained, head):
                part.train()
            total = 0.0
            for batch in epoch_batches(configuration, torch.from_numpy(work.train.labels), seed, len(epochs)):
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * (1 - done / steps)
                optimizer.zero_grad()
                loss = F.cross_entropy(body(images[batch]), torch.from_numpy(work.train.labels)[batch])
                loss.backward()
                optimizer.step()
                done, total = done + 1, total + loss.item() * len(batch)
            body.eval()
            with torch.no_grad():
                logits = body(val)
            labels = torch.from_numpy(work.val.labels)
            score = float((logits.argmax(1) == labels).double().mean())
            rate = configuration.learning_rate * (1 - done / steps)
            epochs.append((f"top {stage}", total / len(images), float(F.cross_entropy(logits, labels)), rate))
            left, waited = left - 1, waited + 1
            if score > best:
                best, waited = score, 0
                kept = {name: value.clone() for name, value in body.state_dict().items()}
        body.load_state_dict(kept)
        if not left:
            break
    return epochs, list(body.state_dict().values())


@pytest.mark.parametrize("values", [{}, {"patience": 2, "epochs": 16}])
def test_each_phase_ends_by_its_own_early_stopping_and_leaves_its_best_weights(values: dict[str, object]):
    configuration = plateaus(**values)
    expected, weights = by_hand(configuration, seed=4)
    result = finetune(configuration, own_task(), seed=4)
    found = [(each.phase, each.train_loss, each.val_loss, each.learning_rates["head"]) for each in result.epochs]
    assert [phase for phase, *_ in found] == [phase for phase, *_ in expected]
    assert len({phase for phase, *_ in expected}) > 2, "the comparison needs phases that ended"
    for (_, *ours), (_, *theirs) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    network = result.network
    held = [*network.prefix.prefix.state_dict().values(), *network.suffix.state_dict().values()]
    held += list(network.head.state_dict().values())
    for own, other in zip(held, weights, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-4)
    last = len({phase for phase, *_ in expected}) - 1
    assert [check.freeze_depth for check in result.certificates] == [UNITS - stage for stage in range(last + 1)]
    assert result.frozen_share == pool_share(UNITS - last)


def pool_share(depth: int) -> tuple[float, float]:
    return fresh_pool().pretrained.frozen_share(depth)


def test_the_plan_has_the_phases_of_the_quickest_course_and_no_more_epochs():
    """A phase takes an epoch that improves and `patience` others."""
    phases = plan_phases(plateaus(patience=2, epochs=10), 9)
    assert [(phase.freeze_depth, phase.epochs) for phase in phases] == [(9, 3), (8, 3), (7, 3), (6, 1)]
    assert all(phase.until_plateau and not phase.continues for phase in phases)
    deep = plan_phases(plateaus(patience=2, epochs=10, freeze_depth=8), 9)
    assert [(phase.freeze_depth, phase.epochs) for phase in deep] == [(9, 3), (8, 7)]


def test_the_last_unit_has_the_epochs_that_are_left():
    """One phase of the head and one of a unit: together they take all epochs unless both stop early."""
    result = finetune(plateaus(freeze_depth=UNITS - 1, patience=3, learning_rate=1e-9), own_task(), seed=0)
    assert [epoch.phase for epoch in result.epochs] == ["top 0"] * 4 + ["top 1"] * 4
    assert result.epochs[4].learning_rates["head"] == pytest.approx(1e-9 * 4 / 5), "a schedule over the 5 that are left"


def test_a_plan_with_an_open_end_before_a_shared_schedule_is_refused(registered: None):
    def plan(config: TrialConfig, units: int):
        return (replace(finetuning_phase(config, units, 0), until_plateau=True, continues=True),)

    register_strategy(Strategy("open_end", "", plan))
    with pytest.raises(InvalidInputError, match="whose length until_plateau leaves open"):
        plan_phases(config("open_end"), UNITS)
