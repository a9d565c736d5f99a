"""A population: each configuration comes to what it comes to alone, whatever becomes of the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.finetune import FinetuneResult, Task, finetune, predict
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.populations.population import can_train_together, finetune_together
from frostline.objectives.populations.population_loop import cross_entropies
from frostline.objectives.precision import BFLOAT16, FLOAT32, Precision
from frostline.objectives.strategies.plans import plan_trial

from ..tiny import SPEC, task

# Of probabilities, as finetune_together states it; losses of at most about 10 keep the same share of theirs.
TOLERANCE = 1e-4
BASE: dict[str, Any] = {"strategy": "feature_extraction", "epochs": 8, "patience": 99, "batch_size": 8}
# What members of one stack may differ in.
MEMBERS: tuple[dict[str, Any], ...] = (
    {},
    {"learning_rate": 1e-2, "head.dropout": 0.3},
    {"head.dropout": 0.5, "label_smoothing": 0.1},
    {"weight_decay": 0.1, "schedule": "one_cycle"},
    {"ema_decay": 0.9, "head.pooling": "max", "momentum": 0.5, "nesterov": False},
    {"gradient_clip": 0.5, "warmup": 0.2, "schedule": "step", "momentum": 0.0},
    {"class_weights": "balanced", "schedule": "linear", "ema_decay": 0.5},
    {"augmentation": "trivial", "views": 2, "head.dropout": 0.1},
    {"epochs": 3},
    {"patience": 1, "learning_rate": 1e-9},
)
HIDDEN = {"head.hidden_layers": 1, "head.width": 8}
STRUCTURES: dict[str, dict[str, Any]] = {
    "linear": {},
    "normed": {"head.normalization": "batch", "head.init": "zeros"},
    "layer-normed": {"head.normalization": "layer"},
    "hidden": {**HIDDEN, "head.hidden_layers": 2, "head.activation": "gelu", "head.init": "xavier"},
    "hidden, batch norm": {**HIDDEN, "head.normalization": "batch", "truncate": 3},
    "hidden, layer norm": {**HIDDEN, "head.normalization": "layer", "head.activation": "tanh"},
    "cosine": {"head.output": "cosine"},
    "avgmax": {"head.pooling": "avgmax"},
    "depths": {"head.depths": 3, "head.pooling": "avgmax"},
}


def configs(*members: dict[str, Any]) -> list[TrialConfig]:
    return [create_config({**BASE, **member}) for member in members]


def together(every: list[TrialConfig], work: Task) -> list[FinetuneResult | Exception]:
    return finetune_together(every, work, seed=3, on_epochs=[lambda result: None] * len(every))


def assert_close(found: FinetuneResult | Exception, alone: FinetuneResult, work: Task) -> None:
    assert isinstance(found, FinetuneResult)
    own, other = (predict(result.network, work.val, work) for result in (found, alone))
    np.testing.assert_allclose(own, other, rtol=0, atol=TOLERANCE)
    assert (found.score, found.best_epoch) == (alone.score, alone.best_epoch)
    assert found.certificates == alone.certificates
    for metric in ("accuracy", "macro_f1", "log_loss"):
        assert found.val_metrics[metric] == pytest.approx(alone.val_metrics[metric], abs=10 * TOLERANCE)
    assert found.trainable_parameters == alone.trainable_parameters
    assert found.frozen_share == alone.frozen_share
    assert len(found.epochs) == len(alone.epochs)
    for one, other in zip(found.epochs, alone.epochs, strict=True):
        assert (one.epoch, one.phase, one.score) == (other.epoch, other.phase, other.score)
        assert one.learning_rates == pytest.approx(other.learning_rates, rel=1e-6)
        assert (one.train_loss, one.val_loss) == pytest.approx((other.train_loss, other.val_loss), abs=10 * TOLERANCE)


OPTIMIZERS = ["sgd", "adam", "adamw", "rmsprop"]
PAIRS = list(itertools.product(enumerate(STRUCTURES), enumerate(OPTIMIZERS)))


# Every structure is quick with two optimizers, and every optimizer with half of the structures.
@pytest.mark.parametrize(
    ("structure", "optimizer"),
    [
        pytest.param(structure, optimizer, marks=[pytest.mark.slow] * ((row + column) % 2))
        for (row, structure), (column, optimizer) in PAIRS
    ],
)
def test_each_comes_to_what_it_comes_to_alone(structure: str, optimizer: str):
    work = task()
    own = {**STRUCTURES[structure], "optimizer": optimizer}
    # As many of them as keep the test short: every structure and optimizer sees every other member.
    start = (list(STRUCTURES).index(structure) + len(optimizer)) % 2
    every = configs(*({**own, **member} for member in MEMBERS[start::2]))
    if optimizer == "rmsprop":
        # Its first steps are ten times the rate: at rates that are usual elsewhere it magnifies what is rounded.
        every = [config.model_copy(update={"learning_rate": config.learning_rate / 10}) for config in every]
    for config, found in zip(every, together(every, work), strict=True):
        assert_close(found, finetune(config, work, seed=3), work)


@pytest.mark.parametrize("frozen", [FLOAT32, BFLOAT16])
def test_all_kinds_can_be_in_one_population(frozen: str):
    work = replace(task(), precision=Precision(frozen))
    mixed = [
        {"batch_size": 16},
        {"sampling": "balanced", "truncate": 2},
        {"optimizer": "sgd", **HIDDEN, "head.normalization": "batch"},
        {"head.pooling": "flatten", "head.dropout": 0.4},
        {},
        {"augmentation": "flip_crop"},
    ]
    every = configs(*mixed)
    for config, found in zip(every, together(every, work), strict=True):
        assert_close(found, finetune(config, work, seed=3), work)


class StoppedError(Exception):
    """Raised by who is told of an epoch."""


def test_one_that_is_stopped_or_fails_leaves_the_others_alone():
    work = task()
    every = configs({}, {"learning_rate": 2e-3}, {}, {})
    # Beyond what a configuration takes: the weights overflow.
    every[2] = every[2].model_copy(update={"learning_rate": 1e38})
    told: list[list[EpochResult]] = [[] for _ in every]

    def listener(place: int) -> Callable[[EpochResult], None]:
        def on_epoch(result: EpochResult) -> None:
            told[place].append(result)
            if place == 1 and result.epoch == 2:
                raise StoppedError

        return on_epoch

    first, stopped, failed, last = finetune_together(
        every, work, seed=3, on_epochs=[listener(place) for place in range(len(every))]
    )
    alone = finetune(every[0], work, seed=3)
    for found in (first, last):
        assert_close(found, alone, work)
    assert isinstance(stopped, StoppedError)
    assert [result.epoch for result in told[1]] == [0, 1, 2]
    assert isinstance(failed, TrainingFailedError)
    assert "learning rate" in str(failed)
    assert [result.epoch for result in told[0]] == list(range(8))
    assert isinstance(first, FinetuneResult)
    assert list(first.epochs) == told[0]


def test_a_frozen_network_that_changed_fails_every_member(monkeypatch: pytest.MonkeyPatch):
    work = replace(task(), backbones=BackbonePool(SPEC))
    every = configs({}, {"learning_rate": 2e-3})

    def spoil(result: EpochResult) -> None:
        with torch.no_grad():
            next(work.backbones.pretrained.model.parameters()).add_(1.0)

    for outcome in finetune_together(every, work, seed=3, on_epochs=[spoil, lambda result: None]):
        assert isinstance(outcome, TrainingFailedError)
        assert "frozen units changed" in str(outcome)


def test_costs_are_shared():
    every = configs({}, {"learning_rate": 2e-3}, HIDDEN)
    results = together(every, task())
    finished = [result for result in results if isinstance(result, FinetuneResult)]
    assert len(finished) == 3
    for result in finished:
        assert result.seconds > sum(epoch.seconds for epoch in result.epochs) > 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, True),
        ({"truncate": 2, "head.hidden_layers": 2}, True),
        ({"head.depths": 3}, True),
        ({"head.pooling": "gem"}, False),
        ({"head.pooling": "attention"}, False),
        ({"head.function": "own_heads:average"}, False),
        ({"mixing": "mixup"}, False),
        ({"head.init": "probe"}, False),
        ({"strategy": "full"}, False),
        ({"strategy": "scratch"}, False),
        ({"strategy": "partial", "freeze_depth": 3}, False),
        ({"strategy": "lp_ft", "probe_epochs": 2}, False),
    ],
)
def test_who_may_be_in_a_population(values: dict[str, Any], expected: bool):
    assert can_train_together(plan_trial(configs(values)[0], 18), 18) is expected


def test_a_solved_head_is_not_in_a_population():
    assert not can_train_together(plan_trial(create_config({"strategy": "linear_probe_exact"}), 18), 18)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(2, 9), st.integers(2, 6), st.integers(0, 1000))
def test_losses_are_torchs(members: int, images: int, classes: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(members, images, classes, generator=generator)
    labels = torch.randint(classes, (images,), generator=generator)
    weights = torch.rand(members, classes, generator=generator) + 0.1
    smoothing = torch.rand(members, generator=generator)
    expected = [
        nn.CrossEntropyLoss(weight=own, label_smoothing=float(smooth), reduction="sum")(each, labels) / images
        for each, own, smooth in zip(logits, weights, smoothing, strict=True)
    ]
    torch.testing.assert_close(cross_entropies(logits, labels, weights, smoothing), torch.stack(expected))
