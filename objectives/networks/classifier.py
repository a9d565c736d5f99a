"""Classifiers: a trained network as one plain module, for use without a study."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..preprocessing import Preprocessing
from .batchnorm_folding import fold


class Classifier(nn.Module):
    """Backbone, head and temperature: normalized images (N, C, S, S) to calibrated logits (N, classes).

    The softmax of the logits gives the calibrated probabilities.

    Args:
        backbone: Network from images to features.
        head: Network from features to logits.
        temperature: Number by which logits are divided; see :mod:`~frostline.objectives.calibration`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from frostline.objectives.networks import Classifier
        >>> classifier = Classifier(nn.Flatten(), nn.Identity(), temperature=2.0)
        >>> classifier(torch.tensor([[[3.0]], [[4.0]]])).tolist()
        [[1.5], [2.0]]
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, temperature: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        # Divided in full precision: under autocast the head's output has less.
        return self.head(self.backbone(images)).float() / self.temperature

    def folded(self) -> Classifier:
        """The same function in evaluation mode, with fewer operations: equal up to rounding.

        Batch norms are merged into the convolutions before them; all else is shared with this classifier.
        """
        return Classifier(fold(self.backbone), self.head, self.temperature).eval()

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:.6g}"


class PixelClassifier(nn.Module):
    """A classifier that takes pixels: uint8 (N, S, S, C), RGB where C is 3, to calibrated logits (N, classes).

    It scales the pixels to [0, 1] and normalizes them. Resizing and cropping come before: they give the images of a
    batch one size.

    Args:
        classifier: Classifier of normalized images.
        preprocessing: Statistics of the normalization.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.classifier = classifier
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name))[:, None, None]
            self.register_buffer(name, values, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2).float() / 255
        return self.classifier((images - self.mean) / self.std)
