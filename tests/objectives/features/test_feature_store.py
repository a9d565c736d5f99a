"""Features in memory and in files: contract C3, wherever they come from the numbers are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from frostline.objectives.augmentation.views import AugmentedViews
from frostline.objectives.config import create_config
from frostline.objectives.features.feature_source import FeatureSource, ImageSource, filled
from frostline.objectives.features.feature_store import FeatureStore, Probe, Tier, bytes_of, tensor_of
from frostline.objectives.finetune import FinetuneResult, Task, finetune
from frostline.objectives.networks.frozen_prefix import FrozenPrefix
from frostline.storage.files.feature_files import FeatureFiles

from ..tiny import pool, split, task

CPU = torch.device("cpu")
CONFIG = {
    "strategy": "partial",
    "freeze_depth": 16,
    "epochs": 4,
    "batch_size": 8,
    "augmentation": "flip_crop",
    "views": 3,
    "patience": 9,
}


def work(store: FeatureStore) -> Task:
    return Task(split(30, 0), split(15, 1), pool(), "accuracy", CPU, store)


def numbers(result: FinetuneResult) -> list[tuple[float, ...]]:
    return [(epoch.train_loss, epoch.val_loss, epoch.score) for epoch in result.epochs]


def run(store: FeatureStore) -> list[tuple[float, ...]]:
    return numbers(finetune(create_config(CONFIG), work(store), seed=0))


def disk_store(folder: Path, memory: int = 0) -> FeatureStore:
    return FeatureStore(memory, disk=10**9, files=FeatureFiles(folder))


_OTHER_PROCESS = f"""
import sys
from pathlib import Path
from {__name__} import disk_store, run
store = disk_store(Path(sys.argv[1]))
print(run(store), store.computed)
"""


def test_cached_evicted_and_recomputed_the_numbers_are_the_same(tmp_path: Path):
    """Contract C3, bit for bit."""
    uncached = run(FeatureStore(0))
    in_memory = FeatureStore(10**9)
    assert run(in_memory) == uncached
    assert in_memory.computed == 4  # three views to train on, one to validate
    assert run(in_memory) == uncached
    assert in_memory.computed == 4
    one_view = next(iter(in_memory.memory._entries.values()))[0].nbytes
    tight = FeatureStore(one_view)
    assert run(tight) == uncached
    first = tight.computed
    assert run(tight) == uncached
    assert tight.computed > first
    assert tight.memory.used <= one_view
    written = disk_store(tmp_path)
    assert run(written) == uncached
    assert (written.computed, len(written._files.held())) == (4, 4)  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.slow
def test_from_another_process_the_numbers_are_the_same(tmp_path: Path):
    """Contract C3, bit for bit."""
    uncached = run(FeatureStore(0))
    assert run(disk_store(tmp_path)) == uncached
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    other = [sys.executable, "-c", _OTHER_PROCESS, str(tmp_path)]
    printed = subprocess.run(other, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed == f"{uncached} 0\n"


def test_averages_and_maxima_are_computed_together():
    """Whatever the global pooling of a head, it finds its features where another head made them."""
    store, frozen = FeatureStore(10**9), {"strategy": "feature_extraction", "epochs": 2, "augmentation": "none"}
    for pooling in ("max", "avg", "avgmax"):
        config = create_config({**frozen, "head": {"pooling": pooling, "hidden_layers": 1}})
        shared = numbers(finetune(config, work(store), seed=0))
        assert shared == numbers(finetune(config, work(FeatureStore(0)), seed=0))
        assert store.computed == 2  # training and validation, by the first


def test_a_damaged_file_is_computed_again(tmp_path: Path):
    uncached = run(disk_store(tmp_path))
    for file in tmp_path.glob("*.features"):
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
    again = disk_store(tmp_path)
    assert run(again) == uncached
    assert again.computed == 4


def test_nothing_is_kept_of_unlimited_augmentation_but_validation_features():
    store = FeatureStore(10**9)
    finetune(create_config({**CONFIG, "views": 0}), work(store), seed=0)
    assert store.computed == 1


def test_nothing_is_kept_where_nothing_is_frozen():
    shared = task()
    finetune(create_config({"strategy": "full", "epochs": 1, "augmentation": "none"}), shared, seed=0)
    assert (shared.store.computed, shared.store.memory.used, shared.store.probes) == (0, 0, {})


@pytest.mark.parametrize(("channels", "kept"), [(2, True), (4, False)])
def test_a_cut_whose_features_are_larger_than_the_images_is_never_kept(channels: int, kept: bool):
    """A slow prefix, so that only the size decides."""
    images = split(10, 0)
    layers = [nn.Conv2d(3, 256, 5, padding=2), nn.Conv2d(256, channels, 5, padding=2)]
    prefix = FrozenPrefix(nn.Sequential(*layers), depth=1)
    store = FeatureStore(10**9)
    views = AugmentedViews("none", 1, images.preprocessing, len(images), 0)
    source = FeatureSource(ImageSource(images, CPU), views, prefix, store)
    assert source.batch(torch.arange(3), 0).shape == (3, channels, 32, 32)
    assert store.computed == kept


def test_a_tier_keeps_to_its_budget_and_to_what_is_worth_most():
    tier = Tier(3 * 400)
    for key, seconds in {"a": 1.0, "b": 4.0, "c": 1.0}.items():
        assert tier.put(key, torch.zeros(100), seconds) == {}
    assert tier.get("a") is not None
    assert list(tier.put("d", torch.zeros(100), 1.0)) == ["c"]
    assert list(tier.put("e", torch.zeros(100), 0.1)) == ["e"]
    assert list(tier.put("huge", torch.zeros(1000), 1e6)) == ["huge"]
    assert all(tier.get(key) is not None for key in "abd")
    assert tier.used == 1200


def test_files_keep_to_their_budget(tmp_path: Path):
    files = FeatureFiles(tmp_path)
    store = FeatureStore(0, disk=3 * 1_200_000, files=files)
    for place in range(6):
        features = torch.full((1000, 256), float(place))
        store._write(f"{place:02d}", features, seconds=float(1 + place % 2 * 8))
    held = files.held()
    assert sum(size for size, _, _ in held.values()) <= store.disk_budget
    assert {"01", "03", "05"} == set(held)


def test_more_views_than_there_is_room_for_do_not_push_each_other_out():
    probe = Probe(seconds=1.0, bytes=100, image_bytes=1000, digest="")
    assert FeatureStore(1050).room(probe, images=2) == 5
    assert FeatureStore(199).room(probe, images=2) == 0
    assert FeatureStore(10**6).room(Probe(1.0, 1126, 1000, ""), images=2) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 3), (4, 6, 3, 2)])
def test_any_tensor_comes_back_from_its_bytes(dtype: torch.dtype, shape: tuple[int, ...]):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    every: list[Tensor] = [features]
    if features.ndim == 4:
        every.append(features.contiguous(memory_format=torch.channels_last))
    for one in every:
        back = tensor_of(*bytes_of(one))
        assert back.dtype == dtype
        assert back.stride() == one.stride()
        assert torch.equal(back, one)


def test_what_a_file_holds_is_not_held_in_memory_beside_it(tmp_path: Path):
    store = disk_store(tmp_path, memory=10**9)
    in_memory = FeatureStore(10**9)
    assert run(store) == run(in_memory)
    assert in_memory.memory.used > 0
    assert (store.memory.used, len(store._files.held())) == (0, 4)  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("shape", [(7,), (7, 3, 2)])
def test_features_are_filled_as_concatenated(shape: tuple[int, ...]):
    parts = [torch.randn(rows, *shape) for rows in (4, 4, 3)]
    if len(shape) == 3:
        parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
    expected = torch.cat(parts)
    found = filled(11, iter(parts))
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
