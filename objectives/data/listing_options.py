"""Options of a listing: what the columns of a manifest are called, where its images are, and which belong together."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace

from ..preprocessing import RGB

# Files of arrays are images only where a user asks for other than 3 channels.
ARRAY_SUFFIXES = frozenset((".npy",))
# A column of this name is none: the column that would be found by its name is left out.
NO_COLUMN = "none"


@dataclass(frozen=True)
class ListingOptions:
    """How a dataset is to be listed; empty for what is found by itself.

    Attributes:
        path_column: Column of a manifest with the images' paths.
        label_column: Column with the classes.
        split_column: Column with the splits; ``none`` to split anew.
        group: Column with the groups, of which none may be in two splits; ``none`` for no groups.
        group_regex: Regular expression that finds the group in an image's path: its first group, or all that it
            matches.
        image_root: Folder from which a manifest's paths start, absolute or relative to the manifest's folder.
        allow_outside: Whether a manifest may name images outside that folder.
        nested_classes: Whether class folders may lie in class folders: each folder that holds images is a class.
        channels: Number of channels of every image; 3 takes images of any kind as color.
    """

    path_column: str = ""
    label_column: str = ""
    split_column: str = ""
    group: str = ""
    group_regex: str = ""
    image_root: str = ""
    allow_outside: bool = False
    nested_classes: bool = False
    channels: int = RGB

    def given(self) -> dict[str, str | bool | int]:
        """The options that are not left to their default, by field.

        >>> from frostline.objectives.data import ListingOptions
        >>> ListingOptions(group="patient").given()
        {'group': 'patient'}
        """
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    @property
    def suffixes(self) -> frozenset[str]:
        """Suffixes of files that are images because of the number of channels."""
        return frozenset() if self.channels == RGB else ARRAY_SUFFIXES

    def located(self, manifest: str) -> ListingOptions:
        """The options as they are stored, for a manifest and an ``image_root`` relative to the current folder.

        A root in the manifest's folder becomes relative to it, so that both may move together.
        """
        if not os.path.exists(os.path.expanduser(manifest)):
            return self
        manifest = os.path.abspath(os.path.expanduser(manifest))
        root = os.path.realpath(os.path.expanduser(self.image_root) or _home(manifest))
        home = _home(os.path.realpath(manifest))
        inside = os.path.commonpath((root, home)) == home
        relative = os.path.relpath(root, home) if inside else root
        return replace(self, image_root="" if relative == os.curdir else relative)

    def root_of(self, manifest: str) -> str:
        """The folder from which the paths of a manifest start, absolute."""
        return os.path.normpath(os.path.join(_home(os.path.realpath(manifest)), self.image_root))


def _home(manifest: str) -> str:
    """The folder of a manifest, which may be a folder itself."""
    return manifest if os.path.isdir(manifest) else os.path.dirname(manifest)


def option_name(field: str) -> str:
    """What a user types for a field of :class:`ListingOptions`."""
    return f"--{field.replace('_', '-')}"
