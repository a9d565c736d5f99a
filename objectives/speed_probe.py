"""Speed probe: what a training costs on this device, measured in about two seconds, with nothing trained.

Every unit of the backbone is run forward, and forward and backward, on a small batch of noise. FLOPs alone mislead:
depthwise convolutions and norms are bound by memory, and take several times as long per operation as others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from .augmentation import AugmentedViews, random_ops
from .backbones import is_map
from .config import TrialConfig
from .devices import autocast, resident_bytes
from .networks import BackbonePool, state_hash
from .precision import EXACT, FLOAT32, Precision
from .preprocessing import Preprocessing
from .speed import SpeedProbe, UnitSpeed
from .stopwatch import RUNS, seconds_of, shortest, torch_threads

# Batch sizes to choose from: the largest that fits into the time.
_BATCHES = (32, 16, 8, 4, 2)
# What a probe costs, in forward passes: one more of each kind, and forward and backward count as three.
_PASSES = 4 * (RUNS + 1)


def probe_speed(
    backbones: BackbonePool,
    preprocessing: Preprocessing,
    configs: Collection[TrialConfig],
    device: torch.device,
    *,
    classes: int,
    seconds: float = 2.0,
    precision: Precision = EXACT,
) -> SpeedProbe:
    """Measure a backbone on a device. Nothing is trained, and the global random state is left unchanged.

    Args:
        backbones: Pool of the study's backbone; its next network has its initial weights, as always.
        preprocessing: Sizes and statistics of the images.
        configs: Configurations whose augmentations are measured.
        device: Device to measure on.
        classes: Number of classes.
        seconds: About how long the passes through the backbone may take.
        precision: Precision of the units.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        base = 0 if device.type == "cuda" else resident_bytes()
        began = time.perf_counter()
        backbone = backbones.fresh(pretrained=True, seed=0).to(device)
        # Earlier networks may have frozen some.
        backbone.model.requires_grad_(True)
        state_hash(backbone.model.state_dict())
        start = time.perf_counter() - began
        modules = [backbone.segment(unit, unit + 1) for unit in range(len(backbone.units))]
        side = preprocessing.image_size
        batch = torch.randn(_BATCHES[0], preprocessing.channels, side, side).to(
            device, memory_format=torch.channels_last
        )
        count, threads = _sizes(modules, batch, device, seconds, precision.frozen)
        last = backbone.units[-1]
        with torch_threads(threads):
            measured = tuple(_measure(modules, batch[:count], device, precision))
            step, per_parameter = _optimizer_seconds(backbone.model, _places(last.output_shape)[1], classes, device)
            images = {config.augmentation: _image_seconds(config, preprocessing, device) for config in configs}
        units = tuple(
            UnitSpeed(forward, training, unit.flops, unit.parameters, output, output // places, saved, places, channels)
            for unit, (forward, training, output, saved) in zip(backbone.units, measured, strict=True)
            for places, channels in [_places(unit.output_shape)]
        )
        # The running statistics of the batch norms have changed.
        backbones.fresh(pretrained=True, seed=0)
    return SpeedProbe(units, images, step, per_parameter, start, batch[0].nbytes, base, device.type)


def _places(shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of places of features, and of features at each: of a map in either order, of tokens, or of a vector."""
    channels = shape[0] if is_map(shape) else shape[-1]
    return math.prod(shape) // channels, channels


def _sizes(
    modules: Sequence[nn.Module], batch: Tensor, device: torch.device, seconds: float, precision: str
) -> tuple[int, int]:
    """Return the size of the largest batch with which all passes take so many seconds, and the number of threads.

    Where other processes use the cores, threads wait for each other most of the time, and a single one is faster.
    """

    def forward() -> None:
        features = batch[: _BATCHES[-1]]
        for module in modules:
            features = module(features)

    each = {}
    for threads in {torch.get_num_threads(), 1} if device.type == "cpu" else {torch.get_num_threads()}:
        with torch.inference_mode(), autocast(device, precision), torch_threads(threads):
            seconds_of(forward, device)
            each[threads] = shortest(forward, device) / _BATCHES[-1]
    fastest = min(each, key=lambda threads: each[threads])
    return next((size for size in _BATCHES if size * each[fastest] * _PASSES < seconds), _BATCHES[-1]), fastest


def _measure(
    modules: Sequence[nn.Module], batch: Tensor, device: torch.device, precision: Precision
) -> list[tuple[float, float, int, int]]:
    """Return seconds forward, seconds forward and backward, and bytes of outputs and activations of each unit, per
    image."""
    found: list[tuple[float, float, int, int]] = []
    features, count = batch, len(batch)
    for module in modules:
        saved = _SavedBytes()

        def forward(module: nn.Module = module, features: Tensor = features) -> Tensor:
            with torch.no_grad(), autocast(device, precision.frozen):
                return module(features)

        def train(module: nn.Module = module, features: Tensor = features, saved: _SavedBytes = saved) -> None:
            with autocast(device, precision.trained), saved.counting(count):
                inputs = features.float() if precision.trained == FLOAT32 else features
                output = module(inputs.detach().requires_grad_())
            output.float().sum().backward()

        module.eval()
        output = forward()
        forward_seconds = shortest(forward, device)
        module.train()
        train()
        training_seconds = shortest(train, device)
        module.eval()
        module.zero_grad(set_to_none=True)
        found.append((forward_seconds / count, training_seconds / count, output[0].nbytes, saved.bytes))
        features = output
    return found


class _SavedBytes:
    """Counts what a forward pass keeps for the backward pass, without parameters, bytes per image."""

    def __init__(self) -> None:
        self.bytes = 0

    def counting(self, images: int) -> torch.autograd.graph.saved_tensors_hooks:
        seen: dict[int, int] = {}

        def pack(value: Tensor) -> Tensor:
            if not isinstance(value, nn.Parameter):
                seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
                self.bytes = sum(seen.values()) // images
            return value

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value)


def _optimizer_seconds(model: nn.Module, width: int, classes: int, device: torch.device) -> tuple[float, float]:
    """Return the seconds of a step of a linear head, and of an optimizer step per parameter."""
    head = nn.Linear(width, classes, device=device)
    optimizer, features = torch.optim.AdamW(head.parameters(), lr=1e-9), torch.randn(32, width, device=device)

    def step() -> None:
        optimizer.zero_grad()
        head(features).logsumexp(dim=1).mean().backward()
        optimizer.step()

    seconds_of(step, device)
    head_seconds = shortest(step, device)
    copies = [nn.Parameter(value.detach().clone()) for value in model.parameters()]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    whole = torch.optim.AdamW(copies, lr=1e-9)
    seconds_of(whole.step, device)
    return head_seconds, shortest(whole.step, device) / max(1, sum(copy.numel() for copy in copies))


def _image_seconds(config: TrialConfig, preprocessing: Preprocessing, device: torch.device) -> float:
    """Return the seconds to bring an image to the device and augment it."""
    side, count = preprocessing.canvas_size, 16
    canvases = torch.randint(0, 256, (count, preprocessing.channels, side, side), dtype=torch.uint8)
    views = AugmentedViews(config.augmentation, config.views, preprocessing, count, 0, random_ops(config))

    def load() -> None:
        views.apply(canvases.to(device), torch.arange(count), 0)

    seconds_of(load, device)
    return shortest(load, device) / count
