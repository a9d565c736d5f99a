"""Truncate and probe: an exact linear probe on the pretrained features after each unit, and what each cut costs.

A network that ends early is smaller and faster, and on data unlike those of the pretraining its features are often as
good (Yosinski et al. 2014, "How transferable are features in deep neural networks?"; Alain & Bengio 2016,
"Understanding intermediate layers using linear classifier probes"). One pass over the images gives the features of all
depths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbones import Backbone
from .data import ImageSplit
from .devices import free_memory
from .errors import TrainingFailedError
from .features import FeatureStore, evaluation_source
from .logistic_regression import solve_probe
from .networks import BackbonePool, FixedPooling, FrozenPrefix, measure_latency, size_in_bytes

# Number of images in the larger of the two batches whose latency is measured.
LATENCY_BATCH = 32
_CHUNK = 256


@dataclass(frozen=True)
class CutProbe:
    """A probe on the first units of the pretrained network, with the cost of that network.

    Attributes:
        unit: Name of the last unit.
        parameters: Number of parameters of the units and the head.
        size: Size of their parameters and buffers, bytes.
        latency: Median time of a forward pass of one image, seconds.
        batch_latency: The same of :data:`LATENCY_BATCH` images.
        val_probabilities: Class probabilities of the validation images (V, K), those of all folds one after another.
        test_probabilities: Class probabilities of the test images (N, K).
    """

    unit: str
    parameters: int
    size: int
    latency: float
    batch_latency: float
    val_probabilities: NDArray[np.float32]
    test_probabilities: NDArray[np.float32]


class EveryDepth(nn.Module):
    """The global averages of the features after each unit of a backbone, side by side: (N, 3, S, S) to (N, D).

    Args:
        backbone: Backbone, whose units are shared, not copied.

    Attributes:
        widths: Number of features of each unit; their sum is D.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        units = range(len(backbone.units))
        self.units = nn.ModuleList(backbone.segment(unit, unit + 1) for unit in units)
        self.poolings = nn.ModuleList(_average(backbone, depth) for depth in range(1, len(backbone.units) + 1))
        shapes = [unit.output_shape for unit in backbone.units]
        with torch.no_grad():
            self.widths = [
                pooling(torch.zeros(1, *shape)).shape[1] for pooling, shape in zip(self.poolings, shapes, strict=True)
            ]

    def forward(self, images: Tensor) -> Tensor:
        columns = []
        for unit, pooling in zip(self.units, self.poolings, strict=True):
            images = unit(images)
            columns.append(pooling(images))
        return torch.cat(columns, dim=1)


def probe_cuts(
    folds: Sequence[tuple[ImageSplit, ImageSplit]],
    test: ImageSplit,
    backbones: BackbonePool,
    device: torch.device,
    store: FeatureStore,
    on_cut: Callable[[int, int], None] = lambda done, cuts: None,
) -> list[CutProbe]:
    """Fit and test a probe after each unit of the pretrained network, the first unit first.

    Args:
        folds: Training images, to which a probe is fitted, and validation images: one pair, or one for each fold. Each
            fold's probe predicts its own validation images; the first fold's predicts the test images, as a final does.
        test: Test images.
        backbones: Pool of the backbone.
        device: Device on which to compute features and to measure latency.
        store: Store of features.
        on_cut: Called after each probe, with the number of probes done and of all.

    Raises:
        TrainingFailedError: A feature is not finite.
    """
    backbone = backbones.fresh(pretrained=True, seed=0).to(device)
    every = EveryDepth(backbone).to(device)
    depth = len(backbone.units)
    train, val, tested = (_features(split, every, depth, device, store) for split in (*folds[0], test))
    seen, rows = torch.cat([train, val]), _rows(folds)
    labels = [torch.from_numpy(train.labels).to(seen.device) for train, _ in folds]
    classes, cuts = len(test.classes), len(backbone.units)
    heads, predicted = [], []
    for depth, stop in enumerate(accumulate(every.widths), 1):
        own = slice(stop - every.widths[depth - 1], stop)
        probes = [
            solve_probe(seen[train][:, own].double(), known, classes)
            for (train, _), known in zip(rows, labels, strict=True)
        ]
        validated = [_predict(probe, seen[val][:, own]) for probe, (_, val) in zip(probes, rows, strict=True)]
        predicted.append((np.concatenate(validated), _predict(probes[0], tested[:, own])))
        heads.append(nn.Linear(probes[0][0].shape[1], classes))
        on_cut(depth, cuts)
    networks = [truncated(backbone, depth, head) for depth, head in enumerate(heads, 1)]
    found = [
        CutProbe(unit.name, _parameters(network), size_in_bytes(network), *latencies, *probabilities)
        for unit, network, latencies, probabilities in zip(
            backbone.units, networks, _latencies(networks, test, device), predicted, strict=True
        )
    ]
    backbone.to("cpu")
    free_memory(device)
    return found


def truncated(backbone: Backbone, depth: int, head: nn.Linear) -> nn.Module:
    """The first units of a backbone with a linear head on the global averages of their features."""
    device = next(backbone.model.parameters()).device
    return nn.Sequential(backbone.segment(0, depth), _average(backbone, depth), head).to(device).eval()


def _rows(folds: Sequence[tuple[ImageSplit, ImageSplit]]) -> list[tuple[Tensor, Tensor]]:
    """Where each fold's training and validation images are among those of the first fold, one after the other.

    All folds have the same images, in another order.
    """
    train, val = folds[0]
    every = np.arange(len(train) + len(val))
    rows = [(torch.from_numpy(every[: len(train)]), torch.from_numpy(every[len(train) :]))]
    place = np.empty(len(train.canvas), np.int64)
    place[np.concatenate([train.indices, val.indices])] = every
    rows += [(torch.from_numpy(place[one.indices]), torch.from_numpy(place[other.indices])) for one, other in folds[1:]]
    return rows


def _average(backbone: Backbone, depth: int) -> nn.Sequential:
    pooling = FixedPooling.average(backbone.units[depth - 1].output_shape)
    return nn.Sequential(*pooling.modules, pooling.pick)


def _features(split: ImageSplit, every: EveryDepth, depth: int, device: torch.device, store: FeatureStore) -> Tensor:
    """Features of a split at every depth, float32 (N, D); on the CPU where the device has no float64."""
    source = evaluation_source(split, FrozenPrefix(every, depth), store, device)
    features = torch.cat([source.batch(positions, 0).float() for positions in torch.arange(len(split)).split(_CHUNK)])
    if not features.isfinite().all():
        raise TrainingFailedError("the network gives features that are not finite: check the backbone's weights")
    return features.cpu() if features.device.type == "mps" else features


def _predict(probe: tuple[Tensor, Tensor], features: Tensor) -> NDArray[np.float32]:
    weight, bias = probe
    return (features.double() @ weight.T + bias).softmax(dim=1).float().cpu().numpy()


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _latencies(networks: Sequence[nn.Module], split: ImageSplit, device: torch.device) -> list[tuple[float, float]]:
    side, channels = split.preprocessing.image_size, split.preprocessing.channels
    single, batch = (measure_latency(networks, side, device, size, channels) for size in (1, LATENCY_BATCH))
    return list(zip(single, batch, strict=True))
