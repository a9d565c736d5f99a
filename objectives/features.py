"""Inputs of the part that trains: views of the images, taken through the frozen prefix at most once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from functools import cached_property

import torch
from torch import Tensor

from .augmentation import Views
from .dataset import ImageSplit
from .devices import autocast
from .freezing import FrozenPrefix
from .mixing import Mix


class FeatureStore:
    """Features of whole splits in memory, least recently used out first, shared by the trials of a process.

    Args:
        budget: Bytes that all entries together may take.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._entries: OrderedDict[Hashable, Tensor] = OrderedDict()

    @property
    def used(self) -> int:
        """Bytes held."""
        return sum(entry.nbytes for entry in self._entries.values())

    def get(self, key: Hashable) -> Tensor | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: Hashable, features: Tensor) -> None:
        """Keep features, dropping the least recently used ones until they fit; too large ones are not kept."""
        if features.nbytes > self.budget:
            return
        self._entries[key] = features
        while self.used > self.budget:
            self._entries.popitem(last=False)


class ImageSource:
    """Stored images of a split on the training device, resident there if they fit.

    Args:
        split: The images.
        device: Where batches are wanted.
    """

    # On a device of its own memory, images may take up to this share of what is free.
    RESIDENT_SHARE = 0.25

    def __init__(self, split: ImageSplit, device: torch.device) -> None:
        self.split = split
        self.device = device
        self.labels = torch.from_numpy(split.labels).to(device)
        self._resident = self._load() if self._fits() else None

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, positions: Tensor) -> Tensor:
        """Canvases uint8 (N, 3, R, R) at positions (N,) of the split."""
        if self._resident is not None:
            return self._resident[positions.to(self.device)]
        return self.split.images(positions.cpu().numpy()).to(self.device, non_blocking=True)

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return len(self) * 3 * self.split.preprocessing.resize_size**2 < self.RESIDENT_SHARE * free

    def _load(self) -> Tensor:
        chunks = torch.arange(len(self)).split(1024)
        return torch.cat([self.split.images(chunk.numpy()).to(self.device) for chunk in chunks])


class FeatureSource:
    """What the trainable part sees of a split: features of the frozen prefix, or the images where nothing is frozen.

    Whether features come from the store, are computed for it or for one batch only changes the time, not a number:
    the prefix always runs at its canonical batch size (contract C3).

    Args:
        images: Of the split.
        views: Their augmentation.
        prefix: The frozen units.
        store: Where whole views are kept.
    """

    def __init__(self, images: ImageSource, views: Views, prefix: FrozenPrefix, store: FeatureStore) -> None:
        self._images = images
        self._views = views
        self._prefix = prefix
        self._store = store
        self._worth_keeping = prefix.depth > 0 and views.count > 0

    def __len__(self) -> int:
        return len(self._images)

    @property
    def labels(self) -> Tensor:
        return self._images.labels

    @property
    def image_size(self) -> int:
        """Side of the images before the prefix, pixels."""
        return self._images.split.preprocessing.image_size

    def batch(self, positions: Tensor, epoch: int, mix: Mix | None = None) -> Tensor:
        """Features (N, ...) of the images at positions (N,), in the view that this epoch sees.

        A mix acts on the images before the prefix, so its features are computed and never kept.
        """
        view = self._views.of_epoch(epoch)
        whole = self._whole(view) if self._worth_keeping and mix is None else None
        features = self._compute(positions, view, mix) if whole is None else whole[positions.to(whole.device)]
        return features.contiguous(memory_format=torch.channels_last) if features.ndim == 4 else features

    def _compute(self, positions: Tensor, view: int, mix: Mix | None = None) -> Tensor:
        images = self._views.apply(self._images.batch(positions), positions, view)
        if mix is not None:
            images = mix.images(images)
        # Here, so that a feature has the same precision whoever asks for it.
        with autocast(images.device):
            return self._prefix(images)

    def _whole(self, view: int) -> Tensor | None:
        split = self._images.split
        key = (
            self._prefix.key,
            split.fingerprint,
            self._views.key,
            view,
            self._images.device,
        )
        features = self._store.get(key)
        if features is None and self._bytes_each * len(self) <= self._store.budget:
            features = torch.cat([self._compute(chunk, view) for chunk in torch.arange(len(self)).split(256)])
            self._store.put(key, features)
        return features

    @cached_property
    def _bytes_each(self) -> int:
        """Size of one image's features."""
        return self._compute(torch.tensor([0]), 0).nbytes
