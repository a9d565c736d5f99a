"""Mixing: images and labels in the same shares, drawn from (seed, epoch, step), through frozen prefixes too."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torchvision.transforms import v2

from frostline.objectives.augmentation.mixing import Mix, Mixer, cut_box, mixed_loss
from frostline.objectives.config import create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.features.feature_source import FeatureSource
from frostline.objectives.finetune import FinetuneResult, finetune
from frostline.objectives.training.loop import _share_of_loss

from ..tiny import task

SIZE = 16
IMAGES = torch.rand(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
METHODS = ["mixup", "cutmix"]
BASE = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3}


def draw(method: str, *, images: int = 6, alpha: float = 1.0, seed: int = 0, epoch: int = 0, step: int = 0) -> Mix:
    mix = Mixer(method, alpha, SIZE, seed).draw(images, epoch, step)
    assert mix is not None
    return mix


def train(**values: object) -> FinetuneResult:
    return finetune(create_config({**BASE, **values}), task(), seed=0)


def losses(result: FinetuneResult) -> list[tuple[float, float]]:
    return [(epoch.train_loss, epoch.val_loss) for epoch in result.epochs]


# Images


def test_mixup_is_the_weighted_mean_of_each_image_and_its_partner():
    mix = draw("mixup")
    mixed = mix.images(IMAGES)
    for image, partner, result in zip(IMAGES, mix.partners.tolist(), mixed, strict=True):
        expected = mix.share * image.numpy() + (1 - mix.share) * IMAGES[partner].numpy()
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


@given(st.integers(0, 200), st.sampled_from([0.2, 1.0]))
def test_cutmix_pastes_one_box_and_its_share_is_the_area_that_is_left(seed: int, alpha: float):
    mix = draw("cutmix", seed=seed, alpha=alpha)
    own, other = torch.zeros(2, 3, SIZE, SIZE), torch.ones(2, 3, SIZE, SIZE)
    mixed = Mix(torch.tensor([2, 3, 0, 1]), mix.share, mix.box).images(torch.cat([own, other]))
    assert float(mixed[:2].mean()) == pytest.approx(1 - mix.share, abs=1e-6)
    assert torch.equal(mixed[2:], 1 - mixed[:2])
    rows, columns = mixed[0, 0].any(1), mixed[0, 0].any(0)
    assert torch.equal(mixed[0], torch.outer(rows, columns).float().expand(3, SIZE, SIZE))


@given(st.floats(0, 1), st.integers(1, 300), st.data())
def test_a_box_has_the_papers_side_where_it_is_not_cut_off(share: float, size: int, data: st.DataObject):
    row, column = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    top, left, bottom, right = cut_box(share, size, row, column)
    assert 0 <= top <= bottom <= size
    assert 0 <= left <= right <= size
    side = size * np.sqrt(1 - share)
    if top > 0 and bottom < size:
        assert side - 2 <= bottom - top <= side


def test_the_images_given_stay_as_they_are():
    before = IMAGES.clone()
    for method in METHODS:
        draw(method).images(IMAGES)
    assert torch.equal(IMAGES, before)


# Draws


@pytest.mark.parametrize("method", METHODS)
def test_a_mix_depends_on_seed_epoch_and_step_alone(method: str):
    torch.rand(3)
    np.random.default_rng().random(3)
    for other in ({"seed": 1}, {"epoch": 1}, {"step": 1}):
        assert draw(method, images=50, **other).partners.tolist() != draw(method, images=50).partners.tolist()
    assert draw(method).partners.tolist() == draw(method).partners.tolist()
    assert (draw(method).share, draw(method).box) == (draw(method).share, draw(method).box)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_are_beta_distributed_and_every_image_is_used_once(alpha: float):
    mixes = [draw("mixup", alpha=alpha, step=step) for step in range(1500)]
    assert stats.kstest([mix.share for mix in mixes], stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert all(sorted(mix.partners.tolist()) == list(range(6)) for mix in mixes)


def test_the_mean_share_of_cutmix_is_torchvisions():
    own = [draw("cutmix", step=step).share for step in range(3000)]
    torch.manual_seed(0)
    reference = v2.CutMix(alpha=1.0, num_classes=2)
    images, labels = torch.zeros(2, 3, SIZE, SIZE), torch.tensor([0, 1])
    theirs = [float(reference(images, labels)[1].max(dim=1).values[0]) for _ in range(3000)]
    assert np.mean(np.maximum(own, 1 - np.array(own))) == pytest.approx(np.mean(theirs), abs=0.02)


# Loss


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0, 2.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_cross_entropy_to_mixed_one_hot_labels(method: str, smoothing: float, weights: list[float] | None):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 3, 1, 1, 2, 0])
    mix = draw(method, alpha=3.0)
    hot = F.one_hot(labels, 4).float()
    soft = mix.share * hot + (1 - mix.share) * hot[mix.partners]
    settings: Any = {"weight": None if weights is None else torch.tensor(weights), "label_smoothing": smoothing}
    expected = F.cross_entropy(logits, soft, **settings)
    criterion = nn.CrossEntropyLoss(**settings, reduction="sum")
    loss = mixed_loss(partial(_share_of_loss, criterion, logits, slice(0, 6)), labels, mix)
    torch.testing.assert_close(loss, expected)
    own, reference = (torch.autograd.grad(value, logits)[0] for value in (loss, expected))
    torch.testing.assert_close(own, reference)


def test_without_mixing_nothing_is_drawn_and_the_loss_is_the_criterions():
    assert Mixer("none", 0.2, SIZE, 0).draw(6, 0, 0) is None
    logits, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1, 1, 2, 0])
    assert torch.equal(mixed_loss(partial(F.cross_entropy, logits), labels, None), F.cross_entropy(logits, labels))


# Training


@pytest.mark.parametrize(
    "values",
    [
        {"strategy": "feature_extraction", "mixing": "mixup", "views": 2, "augmentation": "flip_crop"},
        {"strategy": "partial", "freeze_depth": 6, "mixing": "cutmix", "views": 2, "augmentation": "trivial"},
        {"strategy": "full", "mixing": "cutmix", "mixing_alpha": 1.0, "label_smoothing": 0.1},
        {"strategy": "lp_ft", "mixing": "mixup"},
    ],
    ids=str,
)
def test_mixed_batches_train_and_the_same_seed_gives_the_same_numbers(values: dict[str, object]):
    first = train(**values)
    torch.rand(5)
    np.random.default_rng().random(3)
    assert losses(first) == losses(train(**values))
    assert all(check.passed for check in first.certificates)
    assert losses(first) != losses(train(**{**values, "mixing": "none"}))


def test_it_learns_from_mixed_features_of_a_frozen_prefix():
    values = {"strategy": "partial", "freeze_depth": 2, "backbone_lr_ratio": 1.0, "mixing": "mixup", "epochs": 6}
    result = finetune(create_config({**BASE, **values}), task(train=120), seed=0)
    assert result.score > 0.8


def test_features_of_mixed_batches_are_those_of_mixed_images_and_are_not_kept(monkeypatch: pytest.MonkeyPatch):
    """Through the network without a cut, from pictures mixed by hand; kept are the validation features alone."""
    seen: list[tuple[torch.Tensor, Mix, FeatureSource, torch.Tensor]] = []
    batch = FeatureSource.batch

    def spy(self: FeatureSource, positions: torch.Tensor, epoch: int, mix: Mix | None = None) -> torch.Tensor:
        features = batch(self, positions, epoch, mix)
        if mix is not None:
            seen.append((positions, mix, self, features))
        return features

    monkeypatch.setattr(FeatureSource, "batch", spy)
    work = task()
    values = {"strategy": "feature_extraction", "mixing": "cutmix", "mixing_alpha": 1.0, "epochs": 1}
    result = finetune(create_config({**BASE, **values}), work, seed=0)
    assert len(seen) == 4
    # Averages and maxima are kept, and averages asked for.
    assert work.store.memory.used == 2 * batch(seen[0][2], torch.arange(len(work.val)), 0).nbytes
    for positions, mix, _, features in seen:
        canvas = work.train.images(positions)[..., 2:34, 2:34]
        images = (canvas / 255 - 0.5) / 0.25
        torch.testing.assert_close(features, result.network.prefix(mix.images(images)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("values", [{"mixing": "cutmixup"}, {"mixing_alpha": 0.0}, {"randaugment_magnitude": 31}])
def test_faults_are_named(values: dict[str, object]):
    with pytest.raises(InvalidInputError, match=next(iter(values))):
        create_config({"strategy": "full", **values})
