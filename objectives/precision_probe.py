"""Precision probe: whether a backbone computes faster in bfloat16 on this device, and still gives the same features.

Neither follows from the network or the device alone: on a CPU with AMX, ResNet-50 gains in both its parts, MobileNetV2
in its features only. So a few steps of both parts are measured in both precisions, with nothing trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .config import BackboneSpec
from .devices import autocast, has_bfloat16
from .networks import CANONICAL_BATCH, BackbonePool, as_run
from .precision import BFLOAT16, EXACT, FLOAT32, Precision, PrecisionChoice
from .stopwatch import RUNS, seconds_of, torch_threads

# Floating-point operations of an image below which nothing is measured: such a network spends its time elsewhere.
MIN_FLOPS = 20_000_000
# A part computes in bfloat16 where that is so many times as fast: less is not worth other numbers.
MIN_GAIN = 1.15
# Largest error of the features in bfloat16, relative to their norm. Published networks stay below 0.08, on noise.
MAX_ERROR = 0.2
_BATCHES = (CANONICAL_BATCH, 16, 8, 4, 2)
# A round in both precisions costs about so many forward passes in float32, forward and backward counting as three; at
# least so many rounds shall fit into the time.
_PASSES, _ROUNDS = 8, 2


def choose_precision(
    backbones: BackbonePool, device: torch.device, *, threads: int, seconds: float = 2.0
) -> PrecisionChoice:
    """Measure a backbone in both precisions. Nothing is trained, and the global random state is left unchanged.

    Args:
        backbones: Pool of the study's backbone; its next network has its initial weights, as always.
        device: Device to measure on.
        threads: Number of torch threads to measure with.
        seconds: About how long the passes through the backbone may take.
    """
    if not has_bfloat16(device):
        return PrecisionChoice(reason=f"this device ({device.type}) has no arithmetic in bfloat16")
    units = backbones.pretrained.units
    if sum(unit.flops for unit in units) < MIN_FLOPS:
        return PrecisionChoice(reason="the network is too small to gain by bfloat16")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        backbone = backbones.fresh(pretrained=True, seed=0).to(device)
        # Earlier networks may have frozen some.
        backbone.model.requires_grad_(True)
        network = backbone.segment(0, len(units))
        with torch_threads(threads):
            error, gains = _measure(network, backbones.spec, device, seconds)
        # The running statistics of the batch norms have changed.
        backbones.fresh(pretrained=True, seed=0)
    if not error <= MAX_ERROR:
        off = f"off by {error:.0%}" if math.isfinite(error) else "not finite"
        return PrecisionChoice(EXACT, gains, error, f"in bfloat16 this network's features are {off}")
    frozen, trained = (BFLOAT16 if gain >= MIN_GAIN else FLOAT32 for gain in gains)
    return PrecisionChoice(Precision(frozen, trained), gains, error)


def _measure(
    network: nn.Module, spec: BackboneSpec, device: torch.device, seconds: float
) -> tuple[float, tuple[float, float]]:
    """Return the error of the features in bfloat16, and how many times as fast its two parts are."""
    frozen = {precision: as_run(network.eval(), precision) for precision in (FLOAT32, BFLOAT16)}
    side = spec.image_size
    batch = torch.randn(_BATCHES[0], spec.channels, side, side).to(device, memory_format=torch.channels_last)

    def features(precision: str, images: Tensor) -> Tensor:
        # It shares modules with the one that trains.
        with torch.no_grad(), autocast(device, precision):
            return frozen[precision].eval()(images)

    def train(precision: str, images: Tensor) -> None:
        network.train().zero_grad(set_to_none=True)
        with autocast(device, precision):
            output = network(images)
        output.float().sum().backward()

    exact, rounded = (features(precision, batch[: _BATCHES[-1]]).float() for precision in frozen)
    error = float((rounded - exact).norm() / exact.norm())
    each = seconds_of(lambda: features(FLOAT32, batch[: _BATCHES[-1]]), device) / _BATCHES[-1]
    images = batch[: next((size for size in _BATCHES if size * each * _PASSES * _ROUNDS < seconds), _BATCHES[-1])]
    works: list[Callable[[], object]] = [
        lambda part=part, precision=precision: part(precision, images)
        for part in (features, train)
        for precision in frozen
    ]
    exact_frozen, half_frozen, exact_trained, half_trained = _shortest_in_turns(works, device, seconds)
    network.zero_grad(set_to_none=True)
    gains = (exact_frozen / half_frozen, exact_trained / half_trained)
    return error if math.isfinite(error) else math.inf, gains


def _shortest_in_turns(works: list[Callable[[], object]], device: torch.device, seconds: float) -> list[float]:
    """Return the shortest seconds of each work; they take turns, so that a busy machine slows all of them."""
    began, found = time.perf_counter(), [math.inf] * len(works)
    for turn in range(RUNS + 1):
        if turn and time.perf_counter() - began > seconds:
            break
        found = [min(before, seconds_of(work, device)) for before, work in zip(found, works, strict=True)]
    return found
