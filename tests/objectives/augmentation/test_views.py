"""Views: a picture depends on seed, image and view alone, and is what its policy says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given
from hypothesis import strategies as st

from frostline.objectives.augmentation.policies import random_ops
from frostline.objectives.augmentation.views import AugmentedViews, center_crop, resized_crop, shifted_crop
from frostline.objectives.config import create_config
from frostline.objectives.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(16, 20, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
CANVAS = torch.randint(0, 256, (12, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
EVERY = torch.arange(12)
RANDOM = ["crop", "flip_crop", "resized_crop", "trivial", "randaugment"]


def views(policy: str, count: int = 0, seed: int = 0) -> AugmentedViews:
    ops = random_ops(create_config({"strategy": "full", "augmentation": policy}))
    return AugmentedViews(policy, count, PREPROCESSING, 12, seed, ops)


def test_none_is_the_evaluation_transform_of_torchvision():
    expected = TF.normalize(
        TF.convert_image_dtype(TF.center_crop(CANVAS, [16]), torch.float32),
        list(PREPROCESSING.mean),
        list(PREPROCESSING.std),
    )
    torch.testing.assert_close(views("none").apply(CANVAS, EVERY, 0), expected, rtol=0, atol=1e-6)


@given(st.integers(4, 40), st.integers(0, 30))
def test_the_center_is_torchvisions(size: int, margin: int):
    canvas = torch.arange((size + margin) ** 2).reshape(1, 1, size + margin, size + margin)
    assert torch.equal(center_crop(canvas, size), TF.center_crop(canvas, [size]))


@pytest.mark.parametrize("policy", RANDOM)
def test_a_picture_does_not_depend_on_its_batch(policy: str):
    whole = views(policy).apply(CANVAS, EVERY, 3)
    picked = torch.tensor([7, 2, 11])
    assert torch.equal(views(policy).apply(CANVAS[picked], picked, 3), whole[picked])


@pytest.mark.parametrize("policy", RANDOM)
def test_a_batch_is_its_images_one_at_a_time(policy: str):
    alone = torch.cat([views(policy).apply(CANVAS[[place]], EVERY[[place]], 3) for place in range(12)])
    assert torch.equal(alone, views(policy).apply(CANVAS, EVERY, 3))


@pytest.mark.parametrize("policy", RANDOM)
def test_views_and_seeds_differ(policy: str):
    first = views(policy).apply(CANVAS, EVERY, 0)
    assert not torch.equal(first, views(policy).apply(CANVAS, EVERY, 1))
    assert not torch.equal(first, views(policy, seed=1).apply(CANVAS, EVERY, 0))
    assert torch.equal(first, views(policy).apply(CANVAS, EVERY, 0))


def test_epochs_share_a_bounded_number_of_views():
    assert [views("crop", count=3).of_epoch(epoch) for epoch in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    assert [views("crop", count=0).of_epoch(epoch) for epoch in range(3)] == [0, 1, 2]
    assert [views("none", count=0).of_epoch(epoch) for epoch in range(3)] == [0, 0, 0]


def test_a_shifted_crop_is_a_slice_at_its_offset():
    draws = torch.rand(12, 2, generator=torch.Generator().manual_seed(1))
    crops = shifted_crop(CANVAS, draws, 16)
    for image, draw, crop in zip(CANVAS, draws, crops, strict=True):
        top, left = (int(value * 5) for value in draw)
        assert torch.equal(crop, image[:, top : top + 16, left : left + 16])


@pytest.mark.parametrize(("canvas", "crop"), [(CANVAS, shifted_crop), (CANVAS.float(), resized_crop)])
def test_a_mirrored_crop_is_the_crop_turned(canvas: torch.Tensor, crop: Callable[..., torch.Tensor]):
    draws = torch.rand(12, 4, generator=torch.Generator().manual_seed(1))
    draws = draws[:, :2] if crop is shifted_crop else draws
    mirrored = torch.arange(12) % 3 == 0
    plain, turned = crop(canvas, draws, 16), crop(canvas, draws, 16, mirrored)
    assert torch.equal(turned[mirrored], plain[mirrored].flip(3))
    assert torch.equal(turned[~mirrored], plain[~mirrored])


def test_a_resized_crop_is_torchs_affine_sample():
    draws = torch.rand(12, 4, generator=torch.Generator().manual_seed(1))
    area = 0.35 + draws[:, 0] * 0.65
    ratio = (math.log(3 / 4) + draws[:, 1] * (math.log(4 / 3) - math.log(3 / 4))).exp()
    width, height = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
    theta = torch.zeros(12, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2], theta[:, 1, 2] = (2 * draws[:, 2] - 1) * (1 - width), (2 * draws[:, 3] - 1) * (1 - height)
    grid = torch.nn.functional.affine_grid(theta, [12, 3, 16, 16], align_corners=False)
    expected = torch.nn.functional.grid_sample(CANVAS.float(), grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(resized_crop(CANVAS.float(), draws, 16), expected, rtol=0, atol=1e-2)


def test_canvases_without_room_are_padded_by_reflection():
    canvas = CANVAS[:, :, :16, :16]
    padded = torch.nn.functional.pad(canvas.float(), [1, 1, 1, 1], mode="reflect")
    crops = shifted_crop(canvas, torch.zeros(12, 2), 16)
    assert torch.equal(crops, padded[:, :, :16, :16])


def test_about_half_of_the_images_are_mirrored():
    many = AugmentedViews("flip_crop", 0, Preprocessing(16, 18, "bilinear", (0, 0, 0), (1, 1, 1)), 2000, 0)
    ramp = torch.arange(18, dtype=torch.uint8).expand(2000, 3, 18, 18)
    out = many.apply(ramp, torch.arange(2000), 0)
    mirrored = (out[:, 0, 0, 0] > out[:, 0, 0, -1]).float().mean().item()
    assert mirrored == pytest.approx(0.5, abs=0.05)


def test_a_resized_crop_of_everything_is_the_image():
    draws = torch.tensor([[1.0, 0.5, 0.5, 0.5]]).expand(12, 4)
    torch.testing.assert_close(resized_crop(CANVAS.float(), draws, 20), CANVAS.float(), rtol=0, atol=1e-3)


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4))
def test_a_resized_crop_stays_within_the_image(draw: list[float]):
    ramp = torch.linspace(0, 255, 20).expand(1, 1, 20, 20)
    crop = resized_crop(ramp, torch.tensor([draw]), 16)
    assert crop.min() >= -1e-3
    assert crop.max() <= 255 + 1e-3
    # No folding back at a border: brightness rises from left to right throughout.
    assert (crop[..., 1:] - crop[..., :-1] >= -1e-2).all()


def test_random_operations_come_after_crop_and_flip():
    """Where TrivialAugment draws the identity, its view is a crop and flip of its image, and elsewhere it is none."""
    images, size = 400, 16
    generator = torch.Generator().manual_seed(3)
    canvas = torch.randint(0, 256, (images, 3, 18, 18), dtype=torch.uint8, generator=generator)
    plain = Preprocessing(size, 18, "bilinear", (0, 0, 0), (1, 1, 1))
    ops = random_ops(create_config({"strategy": "full", "augmentation": "trivial"}))
    out = (
        (AugmentedViews("trivial", 0, plain, images, 0, ops).apply(canvas, torch.arange(images), 0) * 255)
        .round()
        .byte()
    )
    windows = canvas.unfold(2, size, 1).unfold(3, size, 1).flatten(2, 3).transpose(1, 2)
    same = [
        (torch.cat([own, own.flip(-1)]) == image).flatten(1).all(1).any()
        for own, image in zip(windows, out, strict=True)
    ]
    # One in 14 is the identity; weak magnitudes of others leave an image alone as well.
    assert 1 / 14 < torch.stack(same).float().mean() < 0.3


def test_the_strength_of_randaugment_is_part_of_a_views_key():
    keys = set()
    for values in ({}, {"randaugment_ops": 1}, {"randaugment_magnitude": 10}):
        ops = random_ops(create_config({"strategy": "full", "augmentation": "randaugment", **values}))
        keys.add(AugmentedViews("randaugment", 2, PREPROCESSING, 12, 0, ops).key)
    assert len(keys) == 3


def test_what_the_network_sees_is_channels_last():
    assert views("flip_crop").apply(CANVAS, EVERY, 0).is_contiguous(memory_format=torch.channels_last)
