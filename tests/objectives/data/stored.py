"""Datasets as the library ``datasets`` stores them, listed by us."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import config
from datasets.table import embed_table_storage

from frostline.objectives.data.dataset_sources import list_source
from frostline.objectives.data.listing import Listing
from frostline.objectives.data.listing_options import ListingOptions
from frostline.objectives.errors import InvalidInputError

from ...noise import in_splits, write_photos

CLASSES = ["cat", "ape"]


def offline_datasets(cache: Path) -> Iterator[None]:
    """No cache of ``datasets`` outside the test, no bars, no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "HF_DATASETS_CACHE", cache)
        patch.setattr(config, "HF_HUB_OFFLINE", True)
        datasets.disable_progress_bars()
        yield


def embedded(part: datasets.Dataset) -> datasets.Dataset:
    """With the files' contents beside their paths, as ``push_to_hub`` stores them."""
    as_arrow = part.with_format("arrow")
    return as_arrow.map(embed_table_storage, batched=True, keep_in_memory=True).with_format(None)


def write_classes(root: Path) -> Path:
    """Splits of class folders, with files whose names repeat in other classes."""
    counts = in_splits({"train": 6, "validation": 3, "test": 4}, CLASSES)
    return write_photos(root, counts, size=(20, 24), name=lambda number: f"p{number // 2} {number}.png")


def listed(source: Path, downloads: Path, **options: Any) -> Listing:
    own = ListingOptions(**options)
    return list_source(str(source), own.located(str(source)), download_dir=downloads)


def fault_of(source: Path, **options: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        listed(source, source.parent, **options)
    return str(caught.value)
