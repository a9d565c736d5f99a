"""Models of timm (an optional dependency), by timm's names: ``timm:resnet10t``, ``timm:resnet18.a1_in1k``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..errors import InvalidInputError, unknown_name
from ..preprocessing import DEFAULT_SIZE, MIN_IMAGE_SIZE, RGB, Preprocessing


@dataclass(frozen=True)
class TimmModel:
    """A :class:`ModelSource` of timm."""

    name: str
    _config: dict[str, Any] = field(repr=False)

    @classmethod
    def find(cls, name: str) -> TimmModel:
        """The model of a name.

        Raises:
            InvalidInputError: timm is not installed, or has no model or weights of this name.
        """
        timm = _timm()
        own, _, tag = name.removeprefix("timm:").partition(".")
        if not timm.is_model(own):
            raise InvalidInputError(
                unknown_name("backbone", name, (f"timm:{each}" for each in timm.list_models()), list_valid=_LIST)
            )
        tagged = [each.removeprefix(f"{own}.") for each in timm.list_pretrained(f"{own}.*")]
        if tag and tag not in tagged:
            raise InvalidInputError(unknown_name(f"weights of timm:{own}", tag, tagged))
        return cls(name, timm.get_pretrained_cfg(name.removeprefix("timm:")).to_dict())

    @property
    def weights(self) -> tuple[str, ...]:
        """The weights of the name's tag, or timm's first choice."""
        return ("DEFAULT",) if self._config.get("hf_hub_id") or self._config.get("url") else ()

    def preprocessing(self, weights: str) -> Preprocessing:
        """timm's evaluation: at the size that the weights are tested at, which may be above that of their training.

        A network for rectangles gets squares of the shorter side.
        """
        own = _timm().data.resolve_data_config(pretrained_cfg=self._config, use_test_size=True)
        size = min(own["input_size"][1:])
        return Preprocessing(
            image_size=size,
            resize_size=math.floor(size / own["crop_pct"]),
            interpolation=own["interpolation"] if own["interpolation"] in ("bilinear", "nearest") else "bicubic",
            mean=own["mean"],
            std=own["std"],
            crop_mode=own["crop_mode"],
        )

    def size_rule(self) -> tuple[int, int]:
        smallest = self._config.get("min_input_size") or (3, MIN_IMAGE_SIZE, MIN_IMAGE_SIZE)
        return max(MIN_IMAGE_SIZE, *smallest[1:]), 1

    def create(self, image_size: int, weights: str | None, channels: int = RGB) -> nn.Module:
        name, create = self.name.removeprefix("timm:"), _timm().create_model
        try:
            return create(name, pretrained=weights in self.weights, **self.arguments(image_size, weights, channels))
        except OSError as error:
            raise InvalidInputError(
                f"The weights of {self.name} could not be downloaded ({next(iter(str(error).splitlines()), error)}). "
                "Check the connection, or use --weights FILE, or --weights none for random weights."
            ) from None
        except (AssertionError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidInputError(f"timm cannot build {self.name} for {image_size} px: {error}") from error

    def arguments(self, image_size: int, weights: str | None, channels: int = RGB) -> dict[str, Any]:
        built_for = self._config.get("input_size") or (3, DEFAULT_SIZE, DEFAULT_SIZE)
        other_size = self._has_fixed_size() and built_for[1:] != (image_size, image_size)
        other = {} if channels == RGB else {"in_chans": channels}
        return other | ({"img_size": image_size} if other_size else {})

    def state(self, weights: str) -> Mapping[str, Tensor] | None:
        return None

    def _has_fixed_size(self) -> bool:
        """Whether the network is built for one image size, so that another one must be passed."""
        return bool(self._config.get("fixed_input_size"))


_LIST = 'python -c "import timm; print(*timm.list_models())"'


def _timm() -> Any:
    try:
        import timm
        import timm.data
    except ImportError:
        raise InvalidInputError("timm is not installed. Install it with: pip install 'frostline[timm]'") from None
    return timm
