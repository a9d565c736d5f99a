"""Preprocessing: image size and pixel statistics that a network was trained with."""

from __future__ import annotations

from dataclasses import dataclass, replace

# Smallest side from which a backbone computes meaningful features, pixels.
MIN_IMAGE_SIZE = 16
# Largest side: an image takes 50 MB, and a layer of 64 channels 4 GB.
MAX_IMAGE_SIZE = 4096
# Side for checks before the weights' own size is known, pixels.
DEFAULT_SIZE = 224

# Channels of an image in color, which published networks take.
RGB = 3

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
        mean: Mean per channel of values in [0, 1]: of red, green and blue, or of all channels of other images.
        std: Standard deviation per channel of values in [0, 1].
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
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode must be one of {', '.join(CROP_MODES)}, not {self.crop_mode!r}")

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return len(self.mean)

    def of_channels(self, channels: int) -> Preprocessing:
        """The same for images of another number of channels.

        The statistics are repeated over the channels, as the weights of the first layer are
        (:mod:`~frostline.objectives.backbones.first_layer`); a single channel gets their means.

        Raises:
            ValueError: The statistics are those of another number of channels, and not of color.

        Example:
            >>> from frostline.objectives.preprocessing import Preprocessing
            >>> Preprocessing(28, 32, "bilinear", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0)).of_channels(5).mean
            (0.1, 0.2, 0.3, 0.1, 0.2)
        """
        if channels == self.channels:
            return self
        if self.channels != RGB:
            raise ValueError(f"mean and std have {self.channels} values, and the images {channels} channels")
        if channels == 1:
            return replace(self, mean=(sum(self.mean) / RGB,), std=(sum(self.std) / RGB,))
        mean, std = ((values * channels)[:channels] for values in (self.mean, self.std))
        return replace(self, mean=mean, std=std)

    @property
    def canvas_size(self) -> int:
        """Side of the stored canvas, which holds the crop at its center, pixels."""
        return max(self.image_size, self.resize_size)

    @property
    def fill(self) -> tuple[int, ...]:
        """Color of what no pixel of the image covers, 8 bits a channel."""
        return tuple(round(255 * value) for value in self.mean) if self.crop_mode == "border" else (0,) * self.channels

    @property
    def geometry(self) -> list[object]:
        """All that the pixels of a canvas depend on, beside the image."""
        common = [self.image_size, self.resize_size, self.interpolation]
        other = [] if self.channels == RGB else [f"{self.channels} channels"]
        return [*common, *([] if self.crop_mode == "center" else [self.crop_mode, list(self.fill)]), *other]

    @property
    def sentence(self) -> str:
        """What happens to an image, for people."""
        resized = CROP_MODES[self.crop_mode].format(self.resize_size)
        square = f"{self.image_size} x {self.image_size} px"
        each = "Each image" if self.channels == RGB else f"Each image, of {plural_channels(self.channels)},"
        if self.resize_size == self.image_size and self.crop_mode != "center":
            return f"{each} is {resized}."
        return f"{each} is {resized}, then cropped to {square}."


def plural_channels(count: int) -> str:
    """A number of channels, in words."""
    return f"{count} channel{'s' * (count != 1)}"
