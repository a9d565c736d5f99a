"""Portfolios: the best configurations of finished studies, by what describes each study, as plain JSON.

A later study on another dataset starts from those of the most similar ones, see :mod:`.prior`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...objectives.errors import InvalidInputError
from ..formats import plural

if TYPE_CHECKING:
    from .settings import StudySettings

FORMAT, VERSION = "frostline portfolio", 1
# A study has a few kilobytes: a larger file is no portfolio.
MAX_BYTES = 10_000_000
# At most so many faults of a file are shown.
_SHOWN = 5
# Distance of a study of another network: as far as ten times as many images.
_OTHER_NETWORK = 1.0

# Text from files of others is printed: no control characters.
_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]
_Count = Annotated[int, Field(ge=1, le=10**12)]
_Value = bool | Annotated[int, Field(ge=-(10**12), le=10**12)] | Annotated[float, Field(allow_inf_nan=False)] | _Text


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Description(_Part):
    """What describes a study, by which studies are similar.

    Attributes:
        data: Hashes of the images with their labels, and of where they are; studies that share one have the same data.
        images: Number of training images.
        classes: Number of classes.
        image_size: Side of the network's square input, in pixels.
        metric: Name of the validation metric.
        backbone: Name of the backbone.
        pretrained: Whether it starts from pretrained weights.
        units: Number of its units.
    """

    data: tuple[_Text, ...] = ()
    images: _Count
    classes: _Count
    image_size: _Count
    metric: _Text
    backbone: _Text
    pretrained: bool
    units: _Count

    def distance(self, other: Description) -> float:
        """Return how far a study is: decades of images, decades of classes, and one for another network.

        Examples:
            >>> from frostline.search.study.portfolio import Description
            >>> same = {"image_size": 64, "metric": "accuracy", "backbone": "resnet18", "pretrained": True, "units": 10}
            >>> many = Description(images=10_000, classes=100, **same)
            >>> many.distance(Description(images=1_000, classes=10, **same))
            2.0
        """
        same = (self.backbone, self.pretrained) == (other.backbone, other.pretrained)
        images, classes = math.log10(self.images / other.images), math.log10(self.classes / other.classes)
        return abs(images) + abs(classes) + (0.0 if same else _OTHER_NETWORK)


def describe(
    settings: StudySettings, *, images: int, classes: int, units: int, fingerprint: str | None = None
) -> Description:
    """Return what describes a study.

    Args:
        settings: Settings of the study.
        images: Number of training images.
        classes: Number of classes.
        units: Number of the backbone's units.
        fingerprint: Fingerprint of the images; None where they are not read.
    """
    # A hash tells nobody the names of folders.
    location = hashlib.sha256(os.fsencode(settings.data)).hexdigest()
    return Description(
        data=(location, *([] if fingerprint is None else [fingerprint])),
        images=images,
        classes=classes,
        image_size=settings.image_size,
        metric=settings.metric,
        backbone=settings.backbone,
        pretrained=settings.weights != "none",
        units=units,
    )


class Best(_Part):
    """The best configuration of a strategy in a study.

    Attributes:
        values: Its searched and constant parameters, by dotted name.
        score: Mean validation score of its finals, in [0, 1].
        seeds: Number of these finals.
    """

    values: dict[_Text, _Value]
    score: float = Field(ge=0, le=1)
    seeds: _Count


class PastStudy(_Part):
    """A finished study.

    Attributes:
        name: Name of the study.
        description: What describes it.
        best: Its best configuration of each strategy.
    """

    name: _Text
    description: Description
    best: dict[_Text, Best]


class Portfolio(_Part):
    """The best configurations of finished studies.

    Attributes:
        format: What the file is.
        version: Version of the format.
        studies: Finished studies; of equally similar ones, the earlier ones come first.
    """

    format: Literal["frostline portfolio"] = FORMAT
    version: Literal[1] = VERSION
    studies: tuple[PastStudy, ...] = ()

    def write(self, path: Path) -> None:
        """Write the portfolio as JSON, in one step.

        Raises:
            InvalidInputError: There is a file of another kind, or the file cannot be written.
        """
        if os.path.lexists(path):
            try:
                read_portfolio(path)
            except InvalidInputError as error:
                raise InvalidInputError(f"{path} is not replaced, since it is none: {error.faults[0]}") from None
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise InvalidInputError(
                f"The portfolio {path} cannot be written: {error.strerror}. Name another file: frostline portfolio FILE"
            ) from None
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def read_portfolio(path: Path) -> Portfolio:
    """Read a portfolio. Nothing in it is executed or imported.

    Raises:
        InvalidInputError: The file cannot be read, or is not a portfolio of this version.
    """
    place = f"The portfolio {path}"
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InvalidInputError(f"{place} is not a file. Write one with: frostline portfolio FILE")
        if size > MAX_BYTES:
            raise InvalidInputError(f"{place} has {size:,} bytes, more than any portfolio ({MAX_BYTES:,}).")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(
            f"{place} cannot be read: {error.strerror or error}. Write one with: frostline portfolio FILE; "
            "or start from the studies of the workspace: --prior workspace"
        ) from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{place} cannot be read: it is not a text file.") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{place} is not valid JSON: {str(error)[:100]}.") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InvalidInputError(f'{place} is not a portfolio: it lacks "format": "{FORMAT}".')
    if found.get("version") != VERSION:
        raise InvalidInputError(
            f"{place} has version {str(found.get('version'))[:20]!r}, and this Frostline reads version {VERSION}. "
            "Write it again with this one: frostline portfolio FILE"
        )
    try:
        return Portfolio.model_validate_json(text)
    except ValidationError as error:
        raise InvalidInputError(_faults(place, error)) from None


def _faults(place: str, error: ValidationError) -> list[str]:
    """Return the first faults of a file, one line each, whatever characters it has."""
    found = [f"{place}: {'.'.join(map(str, each['loc']))[:100]}: {each['msg']}" for each in error.errors()]
    more = len(found) - _SHOWN
    shown = [*found[:_SHOWN], *([f"... and {plural(more, 'other fault')}"] if more > 0 else [])]
    return ["".join(each if each.isprintable() else "?" for each in line) for line in shown]
