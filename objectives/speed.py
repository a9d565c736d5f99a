"""Speed of a backbone on a device, as measured by the speed probe: a record that readers open without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class UnitSpeed:
    """Measurements of a unit of the backbone.

    Attributes:
        forward: Time of a forward pass, seconds per image.
        training: Time of a forward and backward pass, seconds per image.
        flops: Floating-point operations of a forward pass of one image.
        parameters: Number of parameters.
        output_bytes: Size of its output for one image, bytes.
        pooled_bytes: The same after global pooling.
        saved_bytes: Memory that a forward pass keeps for the backward pass, bytes per image.
        places: Number of places of its output, of a map or of tokens; 1 of a vector.
        channels: Number of features at each; 0 in probes of older versions, which did not keep it.
    """

    forward: float
    training: float
    flops: int
    parameters: int
    output_bytes: int
    pooled_bytes: int
    saved_bytes: int
    places: int = 1
    channels: int = 0


@dataclass(frozen=True)
class SpeedProbe:
    """Measurements of a backbone on a device.

    Attributes:
        units: Measurements of the units, from the input.
        images: Time to load and augment an image, seconds, by name of the augmentation.
        step: Time of an optimizer step of a linear head on features, seconds.
        per_parameter: Time of an optimizer step per trained parameter, seconds.
        start: Time to set up a trial and to hash what it freezes, seconds.
        image_bytes: Size of an input of the network, bytes.
        base_bytes: Memory of the process before any training, bytes; 0 on a GPU, whose memory is the network's alone.
        device: Type of the device.
    """

    units: tuple[UnitSpeed, ...]
    images: Mapping[str, float]
    step: float
    per_parameter: float
    start: float
    image_bytes: int
    base_bytes: int
    device: str

    def to_row(self) -> dict[str, Any]:
        """Return plain values to keep in a database."""
        return asdict(self)

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> SpeedProbe:
        """Return the probe that :meth:`to_row` gave."""
        return SpeedProbe(**{**row, "units": tuple(UnitSpeed(**unit) for unit in row["units"])})
