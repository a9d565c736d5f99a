"""The search finds winners that are known by construction; `benchmarks/known_answers.py` does it with five seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.known_answers import PAIRS, run
from benchmarks.procedural import (
    DIRECTIONS,
    SHAPES,
    STRENGTHS,
    faded,
    noise,
    papered,
    recolored,
    regrouped,
    shaped,
    veiled,
)


@pytest.mark.parametrize("draw", [shaped, papered, noise])
def test_images_are_in_range_and_follow_from_the_seed(draw):
    images, labels = draw(30, np.random.default_rng(3))
    assert images.shape == (30, 32, 32, 3)
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(labels) <= set(range(len(SHAPES)))
    again, _ = draw(30, np.random.default_rng(3))
    assert np.array_equal(images, again)
    assert not np.array_equal(images, draw(30, np.random.default_rng(4))[0])


def test_targets_change_what_they_say_and_nothing_else():
    data = shaped(60, np.random.default_rng(0))
    images, labels = data
    assert np.array_equal(regrouped(data)[0], images)
    assert all(len(set(regrouped(data)[1][labels == shape])) == 1 for shape in range(len(SHAPES)))
    assert np.array_equal(recolored(data)[1], labels)
    pale, _ = faded(data)
    np.testing.assert_allclose((pale - 0.78) / 0.2, images, atol=1e-5)


def test_a_papered_picture_has_no_edge():
    images, labels = papered(60, np.random.default_rng(0))
    assert images[labels == 0].std(axis=(1, 2)).max() < 0.06  # the plain texture: nothing but its noise


def test_a_linear_layer_lifts_the_veil():
    data = shaped(60, np.random.default_rng(0))
    images, labels = veiled(data, np.random.default_rng(1))
    assert np.array_equal(labels, data[1])
    assert images.min() > 0  # nothing is cut off
    assert images.max() < 1
    lifted = (images - 0.5) @ np.linalg.inv(STRENGTHS[:, None] * DIRECTIONS) + 0.6
    np.testing.assert_allclose(lifted[..., 0], data[0].mean(axis=-1), atol=1e-4)
    veiled_brightness = images.mean(axis=-1).ravel()
    assert abs(np.corrcoef(veiled_brightness, lifted[..., 0].ravel())[0, 1]) < 0.2  # it does not show by itself


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_the_search_finds_the_known_winner(name: str, tmp_path: Path):
    outcome = run(PAIRS[name], seed=0, folder=tmp_path)
    assert outcome.source_accuracy > 0.9 or name == "unrelated"
    assert outcome.correct, outcome.sentence
