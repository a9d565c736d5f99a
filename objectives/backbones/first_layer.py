"""First layers for images of other than 3 channels, with the weights of a network for color.

The weights of the first convolution are repeated over the channels (red, green, blue, red, ...) and multiplied by
3 / channels, so that its outputs keep their size; for a single channel they are summed, so that a gray image gives what
its three copies gave. This is what timm does for ``in_chans`` (``timm.models.adapt_input_conv``), to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InvalidInputError
from ..preprocessing import RGB, plural_channels
from .input_faults import runs


def repeated(weight: Tensor, channels: int) -> Tensor:
    """The weights of a first convolution for color, for images of another number of channels.

    Args:
        weight: Weights (O, 3, H, W), of any floating-point type.
        channels: Number of channels of the images.

    Returns:
        Weights (O, channels, H, W) of the same type.

    Example:
        >>> import torch
        >>> from frostline.objectives.backbones.first_layer import repeated
        >>> repeated(torch.tensor([2.0, 4.0, 6.0]).reshape(1, 3, 1, 1), 4).flatten().tolist()
        [1.5, 3.0, 4.5, 1.5]
    """
    exact = weight.float()
    if channels == 1:
        return exact.sum(dim=1, keepdim=True).to(weight.dtype)
    tiled = exact.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return (tiled * (RGB / channels)).to(weight.dtype)


def fit_first_layers(
    model: nn.Module, state: Mapping[str, Tensor], channels: int
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Fit the weights of a network for color to a model for another number of channels.

    Args:
        model: Model for images of so many channels.
        state: Tensors by name.
        channels: Number of channels of the images.

    Returns:
        The tensors, of which those differ that meet the images, and the names of these.
    """
    target = model.state_dict()
    adapted = {
        name: repeated(value, channels)
        for name, value in state.items()
        if name in target and _meets_images(value.shape, target[name].shape, channels)
    }
    return {**state, **adapted}, tuple(adapted)


def widen(model: nn.Module, name: str, image_size: int, channels: int, *, pretrained: bool) -> bool:
    """Make a network for color take images of another number of channels, in place.

    A network that takes them already is left alone.

    Args:
        model: Network in evaluation mode.
        name: Its name, for messages.
        image_size: Side of the images, pixels.
        channels: Number of channels of the images.
        pretrained: Whether its weights are worth keeping; otherwise new ones are drawn from torch's global generator,
            with a standard deviation that keeps the size of the outputs.

    Returns:
        Whether the first convolution was replaced.

    Raises:
        InvalidInputError: Its first layer is no plain convolution of 3 channels.
    """
    if channels == RGB or runs(model, channels, image_size):
        return False
    first = _first_convolution(model, image_size)
    if first is None or first.in_channels != RGB or first.groups != 1 or parametrize.is_parametrized(first):
        begins = f"it begins with {first or 'no convolution'}, not with a convolution of {RGB} channels"
        why = begins if runs(model, RGB, image_size) else f"it does not take {RGB} either"
        raise InvalidInputError(
            f"{name} cannot be made to take images of {plural_channels(channels)}: {why}. Take another backbone; or, "
            "for a function of yours, give it an argument in_channels and build the network for so many."
        )
    with torch.no_grad():
        weight = first.weight.detach()
        values = repeated(weight, channels) if pretrained else _drawn(weight, channels)
    first.weight = nn.Parameter(values.contiguous())
    first.in_channels = channels
    return True


def describe_first_layer(channels: int, *, pretrained: bool, adapted: bool) -> str:
    """What the first layer is, in words; empty for images in color.

    >>> from frostline.objectives.backbones.first_layer import describe_first_layer
    >>> describe_first_layer(5, pretrained=True, adapted=True)
    'for 5 channels: its pretrained weights for 3, repeated and multiplied by 3/5'
    """
    if channels == RGB:
        return ""
    if not pretrained:
        how = "drawn at random"
    elif not adapted:
        how = "as its weights have it"
    else:
        how = "its pretrained weights for 3, " + (
            "summed" if channels == 1 else f"repeated and multiplied by 3/{channels}"
        )
    return f"for {plural_channels(channels)}: {how}"


def _drawn(weight: Tensor, channels: int) -> Tensor:
    """New weights (O, channels, H, W), normal; with the deviation of those for 3, each output would be a larger sum."""
    deviation = float(weight.std()) * (RGB / channels) ** 0.5
    return weight.new_empty(len(weight), channels, *weight.shape[2:]).normal_(0, deviation)


def _meets_images(found: torch.Size, wanted: torch.Size, channels: int) -> bool:
    """Whether a tensor is a convolution of 3 channels where the model has one of the images' other number."""
    return (
        len(found) == len(wanted) == 4
        and found[1] == RGB != wanted[1] == channels
        and (found[0], *found[2:]) == (wanted[0], *wanted[2:])
    )


def _first_convolution(model: nn.Module, image_size: int) -> nn.Conv2d | None:
    """The convolution that runs first; None if there is none, or the network does not take images in color."""
    order: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: order.append(module))
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        first = order[0] if runs(model, RGB, image_size) and order else None
        return first if isinstance(first, nn.Conv2d) else None
    finally:
        for hook in hooks:
            hook.remove()
