"""Subsets of the training images: nested, stratified as apportionment defines it, with the whole split's features."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.objectives.config import create_config
from frostline.objectives.data.dataset import ImageSplit
from frostline.objectives.data.subsets import nested_order, take_subset
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import Task, finetune, phase_data
from frostline.objectives.networks.heads import create_head
from frostline.objectives.networks.network import Network
from frostline.objectives.strategies.plans import plan_phases

from ..tiny import pool, split, task

LABELS = st.lists(st.integers(1, 40), min_size=2, max_size=7).flatmap(
    lambda counts: st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())
)
PROBE = {"strategy": "feature_extraction", "epochs": 2, "batch_size": 8, "learning_rate": 0.01}


def labeled(labels: list[int]) -> ImageSplit:
    count, classes = len(labels), tuple(map(str, sorted(set(labels))))
    canvas = np.zeros((count, 1, 1, 3), dtype=np.uint8)
    return ImageSplit(canvas, np.arange(count) + 100, np.array(labels), classes, split(1, 0).preprocessing, "some")


@settings(deadline=None)
@given(LABELS, st.integers(0, 5), st.data())
def test_every_smaller_subset_lies_within_every_larger_one(labels: list[int], seed: int, data: st.DataObject) -> None:
    images = labeled(labels)
    sizes = sorted(data.draw(st.sets(st.integers(len(images.classes), len(labels)), min_size=1, max_size=5)))
    subsets = [take_subset(images, size, seed) for size in sizes]
    assert [len(subset) for subset in subsets] == sizes
    for smaller, larger in itertools.pairwise(subsets):
        assert set(smaller.indices) < set(larger.indices)
    for subset in subsets:
        assert subset.labels.tolist() == [labels[row - 100] for row in subset.indices]
        assert subset.indices.tolist() == sorted(set(subset.indices.tolist()))


@settings(deadline=None)
@given(LABELS, st.integers(0, 5), st.data())
def test_counts_of_classes_are_sainte_lagues_with_at_least_one_each(
    labels: list[int], seed: int, data: st.DataObject
) -> None:
    """By the inequality that defines the method: no class has less claim to its last image than another to its next."""
    size = data.draw(st.integers(len(set(labels)), len(labels)))
    every = np.bincount(labels)
    chosen = np.bincount(take_subset(labeled(labels), size, seed).labels, minlength=len(every))
    assert chosen.min() >= 1
    for had, one in zip(every.tolist(), chosen.tolist(), strict=True):
        for other_had, other in zip(every.tolist(), chosen.tolist(), strict=True):
            assert one == 1 or had * (2 * other + 1) >= other_had * (2 * one - 1)


def test_the_same_seed_draws_the_same_images_and_another_draws_others() -> None:
    labels = np.arange(60) % 3
    assert nested_order(labels, 4).tolist() == nested_order(labels, 4).tolist()
    assert nested_order(labels, 4).tolist() != nested_order(labels, 5).tolist()
    assert sorted(nested_order(labels, 4).tolist()) == list(range(60))
    same, other = take_subset(labeled(labels.tolist()), 30, 4), take_subset(labeled(labels.tolist()), 30, 5)
    assert same.fingerprint == take_subset(labeled(labels.tolist()), 30, 4).fingerprint
    assert len({same.fingerprint, other.fingerprint, same.whole.fingerprint}) == 3


@pytest.mark.parametrize("size", [0, 2, 61])
def test_sizes_that_cannot_be_are_refused(size: int) -> None:
    with pytest.raises(InvalidInputError, match="3 to 60 images"):
        take_subset(labeled([0, 1, 2] * 20), size, 0)


def on_subset(shared: Task, size: int) -> Task:
    return Task(
        take_subset(shared.train, size, 0), shared.val, shared.backbones, "accuracy", shared.device, shared.store
    )


def test_a_subset_has_the_features_of_the_whole_split_and_nothing_is_kept_twice() -> None:
    shared = task()
    config = create_config({**PROBE, "augmentation": "flip_crop", "views": 2})
    finetune(config, shared, seed=3)
    kept = (shared.store.computed, shared.store.memory.used)
    smaller = on_subset(shared, 12)
    finetune(config, smaller, seed=3)
    assert (shared.store.computed, shared.store.memory.used) == kept
    whole, part = _train_inputs(config, shared), _train_inputs(config, smaller)
    assert isinstance(smaller.train, type(take_subset(shared.train, 12, 0)))
    everything = torch.arange(12)
    for epoch in (0, 1):
        expected = whole.batch(torch.from_numpy(smaller.train.positions), epoch)
        assert torch.equal(part.batch(everything, epoch), expected)
    assert part.labels.tolist() == smaller.train.labels.tolist()
    assert (len(part), len(whole)) == (12, 30)
    assert part.key(0) != whole.key(0)


def _train_inputs(config, task: Task):
    phase = plan_phases(config, len(pool().pretrained.units))[-1]
    backbone = pool().fresh(pretrained=True, seed=0)
    head = create_head(config.head, backbone.units[-1].output_shape, len(task.train.classes))
    return phase_data(Network(backbone, phase, head), config, task, 3).train


@pytest.mark.parametrize("strategy", ["feature_extraction", "full"])
def test_training_on_a_subset_is_training_on_a_split_of_these_images(strategy: str) -> None:
    """Where nothing is augmented, for an image's views go by its place in the whole split."""
    shared = task()
    subset = take_subset(shared.train, 12, 0)
    plain = ImageSplit(
        subset.canvas, subset.indices, subset.labels, subset.classes, subset.preprocessing, "an independent split"
    )
    config = create_config({**PROBE, "strategy": strategy, "augmentation": "none"})
    ended = [
        finetune(config, Task(train, shared.val, pool(), "accuracy", shared.device, task().store), seed=1)
        for train in (subset, plain)
    ]
    assert [epoch.train_loss for epoch in ended[0].epochs] == [epoch.train_loss for epoch in ended[1].epochs]
    assert ended[0].val_metrics == ended[1].val_metrics
