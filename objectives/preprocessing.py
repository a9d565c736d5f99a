"""Preprocessing: image size and pixel statistics that a network was trained with."""

from __future__ import annotations

from dataclasses import dataclass

# Smallest side from which a backbone computes meaningful features, pixels.
MIN_IMAGE_SIZE = 16
# Largest side: an image takes 50 MB, and a layer of 64 channels 4 GB.
MAX_IMAGE_SIZE = 4096
# Side for checks before the weights' own size is known, pixels.
DEFAULT_SIZE = 224

# Statistics of ImageNet's training images, as in torchvision.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


# Ways from an image of any shape to the square that the network sees, by timm's names, with what each does first.
CROP_MODES = {
    "center": "resized to {0} px on the shorter side",
    "squash": "squashed to {0} x {0} px",
    "border": "resized to {0} px on the longer side, with borders of the mean color",
}


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation transform of a backbone: resize, crop the center, scale to [0, 1], normalize.

    Attributes:
        image_size: Side of the network's square input, pixels.
        resize_size: Side that the resize aims at, pixels. Below ``image_size``, the crop is padded: in black, or in the
            mean color for ``border``.
        interpolation: Interpolation of the resize: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``; antialiased where
            that applies.
        mean: Mean per channel (RGB) of values in [0, 1].
        std: Standard deviation per channel (RGB) of values in [0, 1].
        crop_mode: Side that gets ``resize_size``, as in timm: the shorter one (``"center"``, torchvision's way), each
            of both, whatever the shape (``"squash"``), or the longer one, with the rest in the mean color
            (``"border"``).

    Raises:
        ValueError: There is no such crop mode.

    Example:
        >>> from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
        >>> Preprocessing(224, 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD).sentence
        'Each image is resized to 256 px on the shorter side, then cropped to 224 x 224 px.'
    """

    image_size: int
    resize_size: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode must be one of {', '.join(CROP_MODES)}, not {self.crop_mode!r}")

    @property
    def canvas_size(self) -> int:
        """Side of the stored canvas, which holds the crop at its center, pixels."""
        return max(self.image_size, self.resize_size)

    @property
    def fill(self) -> tuple[int, ...]:
        """Color of what no pixel of the image covers, 8-bit RGB."""
        return tuple(round(255 * value) for value in self.mean) if self.crop_mode == "border" else (0, 0, 0)

    @property
    def geometry(self) -> list[object]:
        """All that the pixels of a canvas depend on, beside the image."""
        common = [self.image_size, self.resize_size, self.interpolation]
        return common if self.crop_mode == "center" else [*common, self.crop_mode, list(self.fill)]

    @property
    def sentence(self) -> str:
        """What happens to an image, for people."""
        resized = CROP_MODES[self.crop_mode].format(self.resize_size)
        square = f"{self.image_size} x {self.image_size} px"
        if self.resize_size == self.image_size and self.crop_mode != "center":
            return f"Each image is {resized}."
        return f"Each image is {resized}, then cropped to {square}."
