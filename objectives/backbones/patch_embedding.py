"""Patch embeddings: the first unit of ViT, Swin and ConvNeXt."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def embeds_patches(unit: nn.Module) -> bool:
    """Whether a network's first unit does no more than embed patches of the image.

    Its only layer is a convolution of patches that do not overlap: the kernel is the stride. A class token, position
    embeddings and a layer norm may follow. Stems with batch norms are those of other families.

    Args:
        unit: Module from images (N, 3, H, W) to the output of the first unit.

    Example:
        >>> from torch import nn
        >>> from frostline.objectives.backbones.patch_embedding import embeds_patches
        >>> embeds_patches(nn.Conv2d(3, 8, 4, stride=4)), embeds_patches(nn.Conv2d(3, 8, 7, stride=2))
        (True, False)
    """
    layers = [module for module in unit.modules() if getattr(getattr(module, "weight", None), "ndim", 0) > 1]
    patches = layers[0] if len(layers) == 1 else None
    if not isinstance(patches, nn.Conv2d):
        return False
    whole = patches.kernel_size == patches.stride and min(patches.kernel_size) > 1
    return whole and not any(isinstance(module, _BatchNorm) for module in unit.modules())
