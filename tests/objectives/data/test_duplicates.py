"""Planted copies are found, and different images are not taken for copies."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from frostline.objectives.data import exact_groups, joined, near_pairs, overlap
from frostline.objectives.data.duplicates import SAME
from frostline.objectives.data.overlap import standardized, window_correlations

from .photos import COPIES, canvases, color_shares, encoded, photos

COUNT, PLANTED = 120, 40


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_each_kind_are_found_and_nothing_else(kind: str) -> None:
    originals = photos(COUNT)
    images = canvases([*originals, *map(COPIES[kind], originals[:PLANTED])])
    found = set(map(tuple, near_pairs(images, color_shares(images)).tolist()))
    planted = {(number, COUNT + number) for number in range(PLANTED)}
    precision, recall = len(found & planted) / max(len(found), 1), len(found & planted) / PLANTED
    print(f"{kind}: precision {precision:.2f}, recall {recall:.2f}")
    assert precision == 1
    assert recall >= 0.85


def test_without_features_copies_that_agree_pixel_by_pixel_are_found() -> None:
    originals = photos(COUNT)
    images = canvases([*originals, *map(encoded, originals[:PLANTED])])
    assert near_pairs(images).tolist() == [[number, COUNT + number] for number in range(PLANTED)]


@pytest.mark.slow  # All 1,797 digits. Photos are quick.
def test_handwritten_digits_are_no_copies_of_each_other_but_their_encodings_are() -> None:
    """Ones are so much alike that a fixed threshold takes different ones for copies."""
    digits: Any = load_digits()
    drawn = [Image.fromarray((16 * image).clip(0, 255).astype(np.uint8)) for image in digits.images]
    images = canvases(drawn)
    wholes = standardized(images.reshape(len(images), -1).astype(np.float32))
    products = wholes @ wholes.T
    assert (np.triu(products, 1) > SAME).sum() > 200
    # Of 1.6 million pairs, at most one pair of ones.
    assert len(near_pairs(images)) <= 1
    again = canvases([encoded(image.resize((32, 32)), 90) for image in drawn[:100]])
    found = set(map(tuple, near_pairs(np.concatenate([images, again])).tolist()))
    planted = {(number, len(drawn) + number) for number in range(100)}
    assert len(found & planted) >= 90
    assert len(found - planted) <= 2


def test_many_copies_of_one_image_are_one_group() -> None:
    first, *others = photos(60)
    images = canvases([first, *(encoded(first, quality) for quality in range(50, 95, 5)), *others])
    assert joined(len(images), near_pairs(images)) == [list(range(10))]


def test_too_few_images_have_no_neighbors_to_compare_with() -> None:
    same = photos(1) * 2
    assert len(near_pairs(canvases(same))) == 0


def test_constant_images_are_no_copies() -> None:
    gray = [Image.new("RGB", (72, 72), (level,) * 3) for level in range(10, 200, 10)]
    assert len(near_pairs(canvases([*gray, *photos(20)]))) == 0


def test_a_window_correlates_with_what_it_was_cut_from() -> None:
    one, other = photos(2)
    images = canvases([one, COPIES["cropped"](one), COPIES["cropped"](other)])
    right, wrong = window_correlations(images, np.array([[0, 1], [0, 2]]))
    assert right > 0.97
    assert wrong < 0.9
    assert window_correlations(images, np.array([[1, 0], [2, 0]])) == pytest.approx([right, wrong])


def test_pairs_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = canvases([*photos(12), *map(COPIES["cropped"], photos(3))])
    pairs = np.array([(one, other) for one in range(15) for other in range(one)])
    whole = window_correlations(images, pairs)
    for grid in ("_COARSE", "_FINE"):
        monkeypatch.setattr(overlap, grid, replace(getattr(overlap, grid), pairs=3, prepared=7))
    assert window_correlations(images, pairs) == pytest.approx(whole)


@given(st.lists(st.sampled_from("abcde"), max_size=20))
def test_exact_groups_have_equal_digests(digests: list[str]) -> None:
    groups = exact_groups(digests)
    expected = defaultdict(list)
    for position, digest in enumerate(digests):
        expected[digest].append(position)
    assert sorted(groups) == sorted(group for group in expected.values() if len(group) > 1)
