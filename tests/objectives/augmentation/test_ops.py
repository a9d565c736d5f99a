"""Random operations: pixel by pixel torchvision's, whatever the batch; policies draw as torchvision's do."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

from frostline.objectives.augmentation.ops import GEOMETRIC, NAMES, apply_ops
from frostline.objectives.augmentation.policies import BINS, RandomOps, magnitude_table, random_ops
from frostline.objectives.config import create_config

SIZE = 33
# torchvision's names, in our order.
THEIRS = tuple(TrivialAugmentWide()._augmentation_space(BINS))


def pictures(count: int, size: int = SIZE) -> Tensor:
    """Smooth colors with some noise: neither flat nor wild."""
    generator = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, 3, 5, 5, generator=generator) * 200 + 20
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")
    return (smooth + torch.randint(0, 25, smooth.shape, generator=generator)).clamp(0, 255).byte()


def magnitudes_of(name: str) -> list[float]:
    row = torch.cat([magnitude_table(ranges, SIZE)[NAMES.index(name)] for ranges in ("wide", "standard")])
    signed = TrivialAugmentWide()._augmentation_space(BINS)[THEIRS[NAMES.index(name)]][1]
    return sorted({*row.tolist(), *((-row).tolist() if signed else [])})


def ours(name: str, images: Tensor, magnitudes: list[float]) -> Tensor:
    ops = torch.full((len(images),), NAMES.index(name))
    return apply_ops(images, ops, torch.tensor(magnitudes))


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_torchvisions(name: str):
    """To the last level; only where a value lies half-way between two may geometry and contrast round up (1 in 100)."""
    magnitudes = magnitudes_of(name)
    images = pictures(len(magnitudes))
    results = ours(name, images, magnitudes)
    theirs = THEIRS[NAMES.index(name)]
    expected = torch.stack(
        [
            _apply_op(image, theirs, magnitude, InterpolationMode.BILINEAR, None)
            for image, magnitude in zip(images, magnitudes, strict=True)
        ]
    )
    difference = (results.int() - expected.int()).abs()
    assert difference.max() <= (1 if name in (*GEOMETRIC, "auto_contrast") else 0)
    assert (difference > 0).float().mean() < 1e-2
    if name != "identity":
        assert (results != images).float().mean() > 0.1


@pytest.mark.parametrize(
    ("name", "reference"), [("auto_contrast", ImageOps.autocontrast), ("equalize", ImageOps.equalize)]
)
def test_operations_without_a_magnitude_are_pillows(name: str, reference):
    images = pictures(6)
    for image, result in zip(images, ours(name, images, [0.0] * 6), strict=True):
        expected = TF.pil_to_tensor(reference(Image.fromarray(image.permute(1, 2, 0).numpy())))
        assert (result.int() - expected.int()).abs().max() <= 1


def test_flat_images_survive_every_operation():
    flat = torch.full((len(NAMES), 3, 16, 16), 77, dtype=torch.uint8)
    results = apply_ops(flat, torch.arange(len(NAMES)), magnitude_table("wide", 16)[:, 0])
    assert torch.equal(results, flat)


@pytest.mark.parametrize(("ranges", "policy"), [("wide", TrivialAugmentWide()), ("standard", RandAugment())])
@pytest.mark.parametrize("size", [32, 96, 224])
def test_names_and_magnitudes_are_torchvisions(ranges: str, policy: TrivialAugmentWide | RandAugment, size: int):
    space = (
        policy._augmentation_space(BINS, (size, size))
        if isinstance(policy, RandAugment)
        else policy._augmentation_space(BINS)
    )
    assert [name.lower() for name in space] == [name.replace("_", "") for name in NAMES]
    for row, (values, _) in zip(magnitude_table(ranges, size), space.values(), strict=True):
        torch.testing.assert_close(row, values.float().expand(BINS), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("size", [17, 32])
@pytest.mark.parametrize("ops", [RandomOps("wide"), RandomOps("standard", 3, 20)], ids=["trivial", "randaugment"])
def test_a_batch_is_its_images_one_at_a_time(ops: RandomOps, size: int):
    images = pictures(300, size)
    draws = torch.rand(300, ops.draws, generator=torch.Generator().manual_seed(1))
    together = ops.apply(images, draws)
    alone = torch.cat([ops.apply(image[None], draw[None]) for image, draw in zip(images, draws, strict=True)])
    assert torch.equal(together, alone)
    layout = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(ops.apply(layout, draws), together)


def test_the_images_given_stay_as_they_are():
    images = pictures(50)
    before = images.clone()
    RandomOps("standard", 2, 30).apply(images, torch.rand(50, 6, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(images, before)


def chosen(ops: RandomOps, count: int) -> tuple[Tensor, Tensor]:
    return ops.choose(torch.rand(count, 3, generator=torch.Generator().manual_seed(0)), SIZE)


def test_every_operation_is_drawn_equally_often():
    """A chi-squared test with 13 degrees of freedom; 34.5 is its 99.9th percentile."""
    count = 14_000
    numbers, _ = chosen(RandomOps("wide"), count)
    observed = torch.bincount(numbers, minlength=len(NAMES)).double()
    expected = count / len(NAMES)
    assert len(observed) == len(NAMES)
    assert float(((observed - expected) ** 2 / expected).sum()) < 34.5


def test_trivial_draws_magnitudes_and_signs_evenly_and_randaugment_one_magnitude():
    numbers, magnitudes = chosen(RandomOps("wide"), 40_000)
    angles = magnitudes[numbers == NAMES.index("rotate")]
    error = 135 / math.sqrt(3) / math.sqrt(len(angles))
    assert float(angles.mean()) == pytest.approx(0, abs=3 * error)
    assert float(angles.abs().mean()) == pytest.approx(67.5, abs=3 * error)
    assert len(angles.abs().unique()) == BINS
    assert (magnitudes[numbers == NAMES.index("solarize")] >= 0).all()
    numbers, magnitudes = chosen(RandomOps("standard", 2, 30), 5_000)
    assert sorted(magnitudes[numbers == NAMES.index("rotate")].unique().tolist()) == [-30, 30]


def test_configurations_name_the_policies():
    assert random_ops(create_config({"strategy": "full", "augmentation": "flip_crop"})) is None
    assert random_ops(create_config({"strategy": "full", "augmentation": "trivial"})) == RandomOps("wide")
    values = {"strategy": "full", "augmentation": "randaugment", "randaugment_ops": 3}
    assert random_ops(create_config(values)) == RandomOps("standard", 3, 9)
