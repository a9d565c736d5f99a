"""A small learnable task: images whose color tells the class, and a small backbone of random weights."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from frostline.objectives.config import BackboneSpec
from frostline.objectives.data.dataset import ImageSplit
from frostline.objectives.features.feature_store import FeatureStore
from frostline.objectives.finetune import Task
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.preprocessing import Preprocessing

from ..noise import write_photos

CLASSES = ("red", "green", "blue")
PREPROCESSING = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SPEC = BackboneSpec("tiny_network:create_many_units", "none", 32)


@functools.cache
def pool() -> BackbonePool:
    return BackbonePool(SPEC)


@functools.cache
def _untouched() -> BackbonePool:
    return BackbonePool(SPEC)


def fresh_pool() -> BackbonePool:
    """As another process builds it: nothing has been trained in it."""
    return copy.deepcopy(_untouched())


def split(count: int, seed: int) -> ImageSplit:
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    canvas = rng.integers(0, 120, size=(count, 36, 36, 3), dtype=np.uint8)
    canvas[np.arange(count), :, :, labels] += 90
    return ImageSplit(canvas, np.arange(count), labels, CLASSES, PREPROCESSING, f"tiny-{count}-{seed}")


def task(budget: int = 2**30, train: int = 30, val: int = 15) -> Task:
    return Task(split(train, 0), split(val, 1), pool(), "accuracy", torch.device("cpu"), FeatureStore(budget))


def own_task(**sizes: int) -> Task:
    """A task with a pool of its own: the weights of its result stay when other trials train."""
    return replace(task(**sizes), backbones=fresh_pool())


def write_pets(folder: Path) -> Path:
    """12 images of each of two classes, no two alike, in class folders."""
    return write_photos(
        folder,
        {"cat": 12, "dog": 12},
        size=lambda number: (20 + number, 30),
        name=lambda number: f"{number:02d}.png",
    )
