"""What a network costs its users: the latency of a forward pass, and the size of its weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from ..devices import autocast, usual_precision
from ..preprocessing import RGB
from .lora import remove_adapters
from .network import Network, last_outputs

# Passes of each network before any is timed, and then at least and at most; seconds after which no round starts.
_WARM_UP, _LEAST, _MOST, _SECONDS = 2, 7, 30, 4.0


@dataclass(frozen=True)
class ServingCosts:
    """What a trained network costs its users.

    Attributes:
        latency: Median time of a forward pass of one image, seconds.
        size: Size of parameters and buffers, bytes.
    """

    latency: float
    size: int


def measure_serving(network: Network, image_size: int, device: torch.device, channels: int = RGB) -> ServingCosts:
    """Measure what a trained network costs its users; adapters are merged into the weights, as when it is saved.

    Args:
        network: Trained network on the device. Afterwards it has no adapters, and its outputs are the same up to
            rounding.
        image_size: Side of the images, pixels.
        device: Device of the network.
        channels: Number of channels of the images.
    """
    remove_adapters(network, merge=True)
    served = as_served(network)
    return ServingCosts(measure_latency([served], image_size, device, channels=channels)[0], size_in_bytes(served))


def measure_latency(
    networks: Sequence[nn.Module], image_size: int, device: torch.device, batch: int = 1, channels: int = RGB
) -> list[float]:
    """Measure the median time of a forward pass of each network, seconds.

    Networks take turns, so that a machine that is busier for a while slows all of them.

    Args:
        networks: Networks on the device, from images (N, C, S, S); they are put into evaluation mode.
        image_size: Side S of the images, pixels.
        device: Device of the networks.
        batch: Number of images N.
        channels: Number of channels C of the images.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, channels, image_size, image_size, generator=generator).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    times: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode(), autocast(device, usual_precision(device)):
        for network in networks:
            network.eval()
            for _ in range(_WARM_UP):
                _forward(network, images)
        started = time.perf_counter()
        while len(times[0]) < _LEAST or (len(times[0]) < _MOST and time.perf_counter() - started < _SECONDS):
            for network, own in zip(networks, times, strict=True):
                began = time.perf_counter()
                _forward(network, images)
                own.append(time.perf_counter() - began)
    return [median(own) for own in times]


def size_in_bytes(network: nn.Module) -> int:
    """Return the size of a network's parameters and buffers as they are in memory, bytes."""
    # Two parts of a network may share a tensor, which a file holds once.
    tensors = {value.data_ptr(): value.nbytes for value in network.state_dict().values()}
    return sum(tensors.values())


def as_served(network: Network) -> nn.Module:
    """The whole of a trained network as one module, without the padding of its frozen prefix to a canonical batch."""
    return nn.Sequential(network.prefix.prefix, _Units(network.suffix, network.seen), network.head)


class _Units(nn.Module):
    """The units that trained, up to what the head sees of them."""

    def __init__(self, units: nn.Sequential, seen: int) -> None:
        super().__init__()
        self.units, self._seen = units, seen

    def forward(self, features: Tensor) -> Tensor | tuple[Tensor, ...]:
        return last_outputs(self.units, features, self._seen)


def _forward(network: nn.Module, images: Tensor) -> None:
    network(images)
    if images.device.type != "cpu":
        torch.get_device_module(images.device).synchronize()
