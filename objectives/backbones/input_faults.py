"""Why a network cannot take the images: their number of channels, their size, or something else."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InvalidInputError
from ..preprocessing import RGB, plural_channels
from .trace_notes import first_line

# Sides to try, pixels: those of small datasets and of common weights.
_SIZES = (224, 64, 32, 28, 96, 128, 256)


def cannot_take_images(
    name: str, model: nn.Module, image_size: int, error: Exception, channels: int = RGB
) -> InvalidInputError:
    """The error of a network that failed on images (N, C, S, S), with what to type next.

    Args:
        name: Name of the network, for messages.
        model: The network.
        image_size: Side of the images that it failed on, pixels.
        error: What it raised.
        channels: Number of channels C of the images.
    """
    if channels != RGB:
        return InvalidInputError(
            f"{name} cannot take images of {plural_channels(channels)}: {first_line(error)}. Take another backbone, or "
            "leave out --channels."
        )
    refused = f"{name} cannot take images of {image_size} px: {first_line(error)}."
    other = _other_channels(model, image_size)
    if other is not None:
        change = "x.mean(dim=1, keepdim=True)" if other == 1 else f"an image of {other} channels made from x"
        return InvalidInputError(
            f"{name} takes images of {plural_channels(other)}, and Frostline's have 3 (RGB) unless --channels says "
            f"otherwise. Add --channels {other} if your images have so many, or wrap it in a module whose forward(x) "
            f"gives it {change}."
        )
    sizes = [size for size in _SIZES if size != image_size and runs(model, RGB, size)]
    if sizes:
        return InvalidInputError(f"{refused} Give another --image-size, such as {sizes[0]}.")
    return InvalidInputError(f"{refused} It fails at {', '.join(map(str, _SIZES[:3]))} px too: run it on one image.")


def _other_channels(model: nn.Module, image_size: int) -> int | None:
    """The number of channels that a network takes, if it is not 3: that of its first convolution."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels == RGB:
        return None
    return first.in_channels if runs(model, first.in_channels, image_size) else None


@torch.no_grad()
def runs(model: nn.Module, channels: int, image_size: int) -> bool:
    """Whether a network takes images of so many channels and pixels a side; nothing of it changes."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        model(torch.zeros(2, channels, image_size, image_size))
    # The code of any network.
    except Exception:
        return False
    finally:
        for module, mode in modes.items():
            module.training = mode
    return True
