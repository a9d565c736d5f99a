"""Why a network cannot take the images: their number of channels, their size, or something else."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InvalidInputError
from .trace_notes import first_line

# Sides to try, pixels: those of small datasets and of common weights.
_SIZES = (224, 64, 32, 28, 96, 128, 256)


def cannot_take_images(name: str, model: nn.Module, image_size: int, error: Exception) -> InvalidInputError:
    """The error of a network that failed on images (N, 3, S, S), with what to type next.

    Args:
        name: Name of the network, for messages.
        model: The network.
        image_size: Side of the images that it failed on, pixels.
        error: What it raised.
    """
    refused = f"{name} cannot take images of {image_size} px: {first_line(error)}."
    channels = _other_channels(model, image_size)
    if channels is not None:
        change = "x.mean(dim=1, keepdim=True)" if channels == 1 else f"an image of {channels} channels made from x"
        return InvalidInputError(
            f"{name} takes images of {channels} channel{'s' * (channels > 1)}, and Frostline's always have 3 (RGB). "
            f"Wrap it in a module whose forward(x) gives it {change}."
        )
    sizes = [size for size in _SIZES if size != image_size and _runs(model, 3, size)]
    if sizes:
        return InvalidInputError(f"{refused} Give another --image-size, such as {sizes[0]}.")
    return InvalidInputError(f"{refused} It fails at {', '.join(map(str, _SIZES[:3]))} px too: run it on one image.")


def _other_channels(model: nn.Module, image_size: int) -> int | None:
    """The number of channels that a network takes, if it is not 3: that of its first convolution."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels == 3:
        return None
    return first.in_channels if _runs(model, first.in_channels, image_size) else None


@torch.no_grad()
def _runs(model: nn.Module, channels: int, image_size: int) -> bool:
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
