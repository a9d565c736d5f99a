"""Inputs of the trainable part: augmented images, passed through the frozen prefix at most once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from functools import cached_property

import PIL
import torch
import torchvision
from torch import Tensor

from ..augmentation import AugmentedViews, Mix
from ..data import ImageSplit, ImageSubset
from ..networks import CANONICAL_BATCH, FrozenPrefix, state_hash
from ..preprocessing import RGB
from .feature_store import FeatureStore, Probe

# Part of every key: increase it when views or prefixes give other numbers than before.
_FORMAT = 3


class ImageSource:
    """Stored images of a split, resident on the training device if they fit.

    Args:
        split: Images of the split.
        device: Device on which batches are wanted.
    """

    # Share of a device's free memory that resident images may take.
    RESIDENT_SHARE = 0.25

    def __init__(self, split: ImageSplit, device: torch.device) -> None:
        self.split = split
        self.device = device
        self.labels = torch.from_numpy(split.labels).to(device)
        self._resident = self._load() if self._fits() else None

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, positions: Tensor) -> Tensor:
        """Canvases uint8 (N, 3, R, R) of the images at positions (N,) of the split."""
        if self._resident is not None:
            return self._resident[positions.to(self.device)]
        return self.split.images(positions.cpu().numpy()).to(self.device, non_blocking=True)

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return len(self) * 3 * self.split.preprocessing.canvas_size**2 < self.RESIDENT_SHARE * free

    def _load(self) -> Tensor:
        chunks = torch.arange(len(self)).split(1024)
        return torch.cat([self.split.images(chunk.numpy()).to(self.device) for chunk in chunks])


class FeatureSource:
    """Inputs of the trainable part: features of the frozen prefix, or images where nothing is frozen.

    A feature is the same number whether it comes from the cache, is computed for the cache or for one batch: the prefix
    always runs at its canonical batch size (contract C3).

    Args:
        images: Images of the split.
        views: Augmented views of the images.
        prefix: Frozen units.
        store: Cache of whole views.
    """

    def __init__(self, images: ImageSource, views: AugmentedViews, prefix: FrozenPrefix, store: FeatureStore) -> None:
        self._images = images
        self._views = views
        self._prefix = prefix
        self._store = store
        self._keepable = prefix.depth > 0 and views.count > 0 and store.enabled
        self._latest: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._images)

    @property
    def labels(self) -> Tensor:
        """Class of each image, int64 (N,), on the training device."""
        return self._images.labels

    @property
    def image_size(self) -> int:
        """Side of the images before the prefix, pixels."""
        return self._images.split.preprocessing.image_size

    def batch(self, positions: Tensor, epoch: int, mix: Mix | None = None) -> Tensor:
        """Features of some images in the view of an epoch.

        A mix applies to the images before the prefix, so mixed features are computed and never cached.

        Args:
            positions: Positions of the images in the split, int64 (N,).
            epoch: Number of the epoch within the trial.
            mix: Mix of the batch; None for an unmixed one.

        Returns:
            Features (N, ...) on the training device.
        """
        view = self._views.of_epoch(epoch)
        if mix is None and view < self._kept_views:
            whole = self._prefix.pick(self._whole(view))
            features = whole[positions.to(whole.device)].to(self._images.device, non_blocking=True)
        else:
            features = self._prefix.pick(self._compute(positions, view, mix))
        # One memory layout for all sources: matrix products may round differently in another.
        layout = torch.channels_last if features.ndim == 4 else torch.contiguous_format
        return features.contiguous(memory_format=layout)

    def _compute(self, positions: Tensor, view: int, mix: Mix | None = None) -> Tensor:
        images = self._views.apply(self._images.batch(positions), positions, view)
        if mix is not None:
            images = mix.images(images)
        return self._prefix.kept(images)

    def _whole(self, view: int) -> Tensor:
        """Features of all images in a view; those of the latest view are held."""
        if self._latest is None or self._latest[0] != view:
            self._latest = None
            size, device = len(self._images) * self._probe.image_bytes, self._images.device
            self._latest = (view, self._store.get(self._whole_key(view), device, size, lambda: self._all(view)))
        return self._latest[1]

    def _all(self, view: int) -> Tensor:
        place = self._store.place(len(self._images) * self._probe.bytes, self._images.device)
        chunks = torch.arange(len(self._images)).split(256)
        return filled(len(self._images), (self._compute(chunk, view).to(place) for chunk in chunks))

    @cached_property
    def _kept_views(self) -> int:
        """Number of views that are cached: the first ones.

        Views take turns: with more views than there is room for, each one would evict the view that is needed next.
        """
        return self._store.room(self._probe, len(self._images)) if self._keepable else 0

    def key(self, view: int) -> str:
        """Digest of all that the cached features of a view depend on."""
        return self._whole_key(view)

    def _whole_key(self, view: int) -> str:
        device = self._images.device
        machine = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        versions = (torch.__version__, torchvision.__version__, PIL.__version__)
        made_by = (
            _FORMAT,
            CANONICAL_BATCH,
            "channels_last",
            self._prefix.kept_key,
            self._probe.digest,
            machine,
            versions,
        )
        made_of = (self._images.split.fingerprint, self._views.key, view)
        return hashlib.sha256(repr((made_by, made_of)).encode()).hexdigest()

    @cached_property
    def _probe(self) -> Probe:
        key = (self._prefix.kept_key, self.image_size, self._images.device)
        if key not in self._store.probes:
            channels = self._images.split.preprocessing.channels
            self._store.probes[key] = probe_prefix(self._prefix, self.image_size, self._images.device, channels)
        return self._store.probes[key]


class SubsetFeatures(FeatureSource):
    """Inputs from some images of a split, with the views and features of the whole split, which are cached once.

    Args:
        images: Images of the whole split.
        views: Augmented views of the images.
        prefix: Frozen units.
        store: Cache of whole views of the whole split.
        subset: Images of the subset.
    """

    def __init__(
        self, images: ImageSource, views: AugmentedViews, prefix: FrozenPrefix, store: FeatureStore, subset: ImageSubset
    ) -> None:
        super().__init__(images, views, prefix, store)
        self._subset = subset
        self._positions = torch.from_numpy(subset.positions)
        self._labels = torch.from_numpy(subset.labels).to(images.device)

    def __len__(self) -> int:
        return len(self._subset)

    @property
    def labels(self) -> Tensor:
        return self._labels

    def batch(self, positions: Tensor, epoch: int, mix: Mix | None = None) -> Tensor:
        return super().batch(self._positions[positions.cpu()], epoch, mix)

    def key(self, view: int) -> str:
        """Digest that also names the images, since it identifies what trains on them; the cache uses that of the whole
        split.
        """
        return f"{super().key(view)}/{self._subset.fingerprint}"


def whole_of(split: ImageSplit) -> ImageSplit:
    """The split in which an image has its place: a subset's images have the views of the whole split."""
    return split.whole if isinstance(split, ImageSubset) else split


def source_of(
    split: ImageSplit, views: AugmentedViews, prefix: FrozenPrefix, store: FeatureStore, device: torch.device
) -> FeatureSource:
    """Inputs from a split; those of a subset are computed with the whole split.

    Args:
        split: Images.
        views: Augmented views of the images of :func:`whole_of` the split.
        prefix: Frozen units.
        store: Cache of whole views.
        device: Device on which batches are wanted.
    """
    images = ImageSource(whole_of(split), device)
    if isinstance(split, ImageSubset):
        return SubsetFeatures(images, views, prefix, store, split)
    return FeatureSource(images, views, prefix, store)


def evaluation_source(
    split: ImageSplit, prefix: FrozenPrefix, store: FeatureStore, device: torch.device
) -> FeatureSource:
    """Inputs from a split as it is evaluated, without augmentation; arguments as in :func:`source_of`."""
    views = AugmentedViews("none", 1, split.preprocessing, len(whole_of(split)), seed=0)
    return source_of(split, views, prefix, store, device)


def filled(rows: int, parts: Iterable[Tensor]) -> Tensor:
    """What :func:`torch.cat` gives for parts (n, ...) of together ``rows`` rows, without all parts held beside it."""
    whole, done = torch.empty(0), 0
    for part in parts:
        if done == 0:
            whole = _like(part, rows)
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def _like(part: Tensor, rows: int) -> Tensor:
    """An empty tensor with the memory layout of a part."""
    channels_last = part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty((rows, *part.shape[1:]), dtype=part.dtype, device=part.device, memory_format=layout)


def probe_prefix(prefix: FrozenPrefix, image_size: int, device: torch.device, channels: int = RGB) -> Probe:
    """Measure a prefix on one canonical batch of noise (32, C, S, S), the same on all machines."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(CANONICAL_BATCH, channels, image_size, image_size, generator=generator)
    images = noise.to(device)
    if device.type != "cpu":
        prefix.kept(images).cpu()  # warm-up: the first run on a device is slower
    started = time.perf_counter()
    features = prefix.kept(images).cpu()
    seconds = (time.perf_counter() - started) / CANONICAL_BATCH
    return Probe(seconds, features[0].nbytes, images[0].nbytes, state_hash({"features": features}))
