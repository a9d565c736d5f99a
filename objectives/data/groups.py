"""Groups of images that belong together, found in their names: those of a patient, a video, a shot."""

from __future__ import annotations

import re
from dataclasses import replace

from ..errors import InvalidInputError
from .listing import Listing

_SHOWN = 3


def group_by_regex(listing: Listing, pattern: str) -> Listing:
    """Give each image of a listing the group that a regular expression finds in its name.

    Args:
        listing: Dataset.
        pattern: Regular expression; the group is its first group, or without one all that it matches.

    Raises:
        InvalidInputError: It is no regular expression, or finds nothing in some names.

    Example:
        >>> from pathlib import Path
        >>> from frostline.objectives.data.groups import group_by_regex
        >>> from frostline.objectives.data.listing import Item, Listing
        >>> items = tuple(Item(name, 0, None, Path(name)) for name in ("cat/p7_1.jpg", "cat/p12_1.jpg"))
        >>> group_by_regex(Listing("pets", ("cat",), items), r"p(\\d+)_").groups
        ['7', '12']
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InvalidInputError(
            f"--group-regex {pattern!r} is no regular expression: {error}. Write one such as 'patient(\\d+)'."
        ) from None
    found = [_group_in(expression, item.name) for item in listing.items]
    if lost := [item.name for item, group in zip(listing.items, found, strict=True) if group is None]:
        shown = ", ".join(map(repr, lost[:_SHOWN])) + (" ..." if len(lost) > _SHOWN else "")
        raise InvalidInputError(
            f"--group-regex {pattern!r} finds no group in {len(lost):,} of {len(found):,} paths ({shown}). "
            "Change it, so that it finds one in each."
        )
    items = tuple(replace(item, group=group) for item, group in zip(listing.items, found, strict=True))
    return replace(listing, items=items, grouped_by=f"--group-regex {pattern!r}")


def _group_in(expression: re.Pattern[str], name: str) -> str | None:
    match = expression.search(name)
    if match is None:
        return None
    return (match[1] if expression.groups else match[0]) or None
