"""One trial: reproducible, the same with and without kept features, its best weights returned, its failures told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from frostline.objectives.config import create_config
from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import InvalidInputError, TrainingFailedError
from frostline.objectives.finetune import FinetuneResult, Task, finetune, predict
from frostline.objectives.metrics import all_scores
from frostline.objectives.populations import finetune_together
from frostline.objectives.precision import BFLOAT16, FLOAT32, Precision
from frostline.objectives.training.loop import create_criterion, epoch_batches

from .tiny import own_task, task

HALF = Precision.both(BFLOAT16)
BASE = {"epochs": 3, "batch_size": 8, "learning_rate": 5e-3}
CASES = [
    {"strategy": "feature_extraction"},
    {"strategy": "feature_extraction", "augmentation": "flip_crop", "views": 2},
    {"strategy": "feature_extraction", "augmentation": "resized_crop", "views": 0},
    {"strategy": "feature_extraction", "augmentation": "trivial", "views": 2},
    {"strategy": "partial", "freeze_depth": 6, "augmentation": "randaugment", "views": 2},
    {"strategy": "partial", "freeze_depth": 6, "augmentation": "crop", "views": 2, "head.dropout": 0.3},
    {"strategy": "lp_ft", "freeze_depth": 3, "views": 1, "augmentation": "flip_crop"},
    {"strategy": "full", "augmentation": "flip_crop"},
    {"strategy": "partial", "freeze_depth": 9, "ema_decay": 0.9, "gradient_clip": 1.0, "optimizer": "rmsprop"},
    {"strategy": "lp_ft", "truncate": 2, "head.pooling": "gem", "sampling": "balanced", "schedule": "one_cycle"},
    {"strategy": "partial", "freeze_depth": 6, "head.init": "probe", "class_weights": "balanced"},
    {"strategy": "feature_extraction", "head.pooling": "attention", "head.queries": 4, "head.init": "probe"},
    {"strategy": "feature_extraction", "head.depths": 4, "head.pooling": "avgmax", "views": 2, "augmentation": "crop"},
    {"strategy": "lp_ft", "freeze_depth": 6, "head.depths": 3, "head.init": "probe", "views": 2},
]


FULL: dict[str, object] = {"strategy": "full", "augmentation": "flip_crop"}


def train(values: dict[str, object], work: Task | None = None, seed: int = 0) -> FinetuneResult:
    """In a pool of its own, unless a task is given: one whose pool others have used."""
    return finetune(create_config({**BASE, **values}), own_task() if work is None else work, seed=seed)


def assert_same(first: FinetuneResult, second: FinetuneResult) -> None:
    for ours, theirs in zip(first.epochs, second.epochs, strict=True):
        assert (ours.train_loss, ours.val_loss, ours.score) == (theirs.train_loss, theirs.val_loss, theirs.score)
    own, other = first.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.parametrize("values", CASES, ids=str)
def test_cached_equals_uncached_bit_for_bit(values: dict[str, object]):
    assert_same(train(values), train(values, task(budget=0)))


# Every case is quick in one of the precisions.
@pytest.mark.parametrize(
    ("values", "precision"),
    [
        pytest.param(values, precision, id=f"{values}-{precision}", marks=[pytest.mark.slow] * ((row + column) % 2))
        for row, values in enumerate(CASES[1:7:2] + CASES[7:])
        for column, precision in enumerate((HALF, Precision(BFLOAT16, FLOAT32)))
    ],
)
def test_cached_equals_uncached_in_every_precision(values: dict[str, object], precision: Precision):
    cached = train(values, replace(task(), precision=precision))
    assert_same(cached, train(values, replace(task(budget=0), precision=precision)))
    rounded = precision.trained == BFLOAT16 or values["strategy"] != "full"
    assert (cached.epochs[-1].train_loss != train(values).epochs[-1].train_loss) == rounded
    assert {certificate.precision for certificate in cached.certificates} == {precision}


@pytest.mark.parametrize("values", CASES[4:], ids=str)
def test_the_same_seed_gives_the_same_numbers_and_another_does_not(values: dict[str, object]):
    first = train(values)
    torch.rand(5)
    assert_same(first, train(values, task()))
    assert first.epochs[-1].train_loss != train(values, task(), seed=1).epochs[-1].train_loss


def test_it_learns_and_returns_the_weights_of_its_best_epoch():
    work = task(train=120)
    values = {**BASE, "strategy": "full", "epochs": 6, "backbone_lr_ratio": 1.0}
    result = finetune(create_config(values), work, seed=0)
    assert result.score > 0.8
    assert result.score == max(epoch.score for epoch in result.epochs)
    assert result.epochs[result.best_epoch].score == result.score
    probabilities = predict(result.network, work.val, work)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(work.val)), abs=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == work.val.labels) == result.score
    assert np.array_equal(result.val_probabilities, probabilities)
    assert result.val_metrics == all_scores(probabilities, work.val.labels)
    assert result.val_metrics["accuracy"] == result.score
    assert result.val_metrics["log_loss"] == pytest.approx(result.epochs[result.best_epoch].val_loss, abs=1e-6)


def test_a_trial_is_validated_by_its_studys_metric():
    work = replace(task(val=30), metric="auroc")
    result = finetune(create_config({**BASE, "strategy": "feature_extraction"}), work, seed=0)
    probabilities = predict(result.network, work.val, work)
    reference = roc_auc_score(work.val.labels, probabilities, multi_class="ovr")
    assert result.score == max(epoch.score for epoch in result.epochs) == pytest.approx(reference, abs=1e-6)
    assert result.score != result.val_metrics["accuracy"]


def test_a_phase_ends_when_nothing_gets_better():
    result = train({"strategy": "feature_extraction", "epochs": 50, "patience": 2, "learning_rate": 1e-9})
    assert len(result.epochs) == 3


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_reason():
    config = create_config({**BASE, "strategy": "full", "optimizer": "sgd"}).model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingFailedError, match=r"loss is (nan|inf) in epoch 0"):
        finetune(config, task(), seed=0)


def test_a_misfit_is_refused_before_training():
    def never(result: EpochResult) -> None:
        raise AssertionError("trained")

    with pytest.raises(InvalidInputError, match="freeze_depth"):
        finetune(create_config({**BASE, "strategy": "partial", "freeze_depth": 99}), task(), seed=0, on_epoch=never)


def test_what_on_epoch_raises_ends_the_trial_and_the_next_one_starts_clean():
    undisturbed = train(FULL)

    class StopError(Exception):
        pass

    def stop(result: EpochResult) -> None:
        raise StopError

    work = task()
    with pytest.raises(StopError):
        finetune(create_config({**BASE, **FULL}), work, seed=0, on_epoch=stop)
    assert_same(undisturbed, finetune(create_config({**BASE, **FULL}), work, seed=0))


def test_costs_are_measured():
    result = train({"strategy": "partial", "freeze_depth": 10})
    assert 0 < result.seconds < 60
    assert result.peak_memory_bytes > 2**20
    assert result.trainable_parameters == sum(p.numel() for _, p in result.network.trainable())
    assert result.certificates[0].frozen_parameters == sum(p.numel() for p in result.network.prefix.parameters())


@given(st.integers(2, 300), st.integers(2, 64), st.integers(0, 5))
def test_an_epoch_sees_every_image_once_in_batches_of_nearly_equal_size(images: int, size: int, epoch: int):
    config = create_config({"strategy": "full", "batch_size": size})
    batches = list(epoch_batches(config, torch.zeros(images, dtype=torch.long), 0, epoch))
    assert sorted(torch.cat(batches).tolist()) == list(range(images))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= max(size, 2 + images % 2)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2, "batch norms fail on a single image"


@pytest.mark.parametrize("images", [2, 3, 31])
def test_batches_of_two_train_batch_norms_on_an_odd_number_of_images(images: int):
    normed = {"head.hidden_layers": 1, "head.normalization": "batch", "batch_size": 2, "epochs": 1}
    work = own_task(train=images)
    whole = train({"strategy": "full", **normed}, work)
    assert np.isfinite(whole.epochs[0].train_loss)
    alone = train({"strategy": "feature_extraction", **normed}, work)
    config = create_config({**BASE, "strategy": "feature_extraction", **normed})
    (together,) = finetune_together([config], work, seed=0, on_epochs=[lambda result: None])
    assert isinstance(together, FinetuneResult)
    assert together.epochs[0].train_loss == pytest.approx(alone.epochs[0].train_loss, rel=1e-4)


def test_balanced_sampling_shows_all_classes_equally_often():
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    config = create_config({"strategy": "full", "sampling": "balanced"})
    drawn = torch.cat([torch.cat(list(epoch_batches(config, labels, 0, epoch))) for epoch in range(3)])
    assert len(drawn) == 3000
    shares = labels[drawn].bincount() / 3000
    assert torch.all((shares - 1 / 3).abs() < 0.04), "4.6 standard errors"
    assert torch.equal(drawn[:1000], torch.cat(list(epoch_batches(config, labels, 0, 0))))


def test_balanced_class_weights_are_scikit_learns():
    labels = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)
    config = create_config({"strategy": "full", "class_weights": "balanced", "label_smoothing": 0.1})
    criterion = create_criterion(config, labels)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert criterion.weight is not None
    np.testing.assert_allclose(criterion.weight.numpy(), expected, rtol=1e-6)
    assert criterion.label_smoothing == 0.1
    assert create_criterion(create_config({"strategy": "full"}), labels).weight is None


def test_a_head_from_the_probe_starts_at_the_exact_solution():
    states: list[dict[str, torch.Tensor]] = []
    work = task(train=60)

    def on_epoch(result: EpochResult) -> None:
        states.append({"epoch": torch.tensor(result.val_loss)})

    values = {**BASE, "strategy": "full", "head.init": "probe"}
    result = finetune(create_config(values), work, seed=0, on_epoch=on_epoch)
    exact = finetune(create_config({"strategy": "linear_probe_exact"}), work, seed=0)
    assert [epoch.phase for epoch in result.epochs] == ["probe solution", *["finetune"] * 3]
    assert result.epochs[0].val_loss == exact.epochs[0].val_loss
    assert len(states) == 4
    first = finetune(create_config({**values, "epochs": 1, "learning_rate": 1e-12, "batch_norm": "eval"}), work, seed=0)
    assert first.epochs[1].val_loss == pytest.approx(exact.epochs[0].val_loss, rel=1e-4)


def test_features_have_one_precision_whoever_asks_for_them():
    """What the exact probe reads does not depend on a trial that came before."""
    probe = create_config({"strategy": "linear_probe_exact"})
    alone = finetune(probe, replace(task(), precision=HALF), seed=0)
    shared = replace(task(), precision=HALF)
    finetune(create_config({**BASE, "strategy": "feature_extraction"}), shared, seed=0)
    assert_same(alone, finetune(probe, shared, seed=0))
