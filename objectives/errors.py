"""Errors of the objectives layer.

ObjectiveError
├── InvalidInputError     the user's input is wrong; the message names it and says what is valid
├── TrainingFailedError   training cannot continue (non-finite loss, changed frozen weights); the trial fails
└── DeviceLostError       this process can no longer use its device; a new process can
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ObjectiveError(Exception):
    """Base class of the errors that this layer raises on purpose."""


class InvalidInputError(ObjectiveError):
    r"""The user's input is wrong; all faults are reported at once.

    Args:
        faults: One or more messages; each names what is wrong and what is valid.

    Example:
        >>> from frostline.objectives.errors import InvalidInputError
        >>> str(InvalidInputError(["epochs must be positive", "no such folder: flowers"]))
        'epochs must be positive\nno such folder: flowers'
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class TrainingFailedError(ObjectiveError):
    """Training ended without a result; the message says why."""


class DeviceLostError(ObjectiveError):
    """The device can no longer be used by this process."""


def unknown_name(kind: str, name: str, valid: Iterable[str], *, list_valid: str | None = None) -> str:
    """Message for an unknown name: the closest valid name first, then all valid names.

    Args:
        kind: Kind of thing that the name stands for, e.g. ``"strategy"``.
        name: Name that the user wrote.
        valid: All valid names.
        list_valid: Command that lists the valid names, for lists too long to print.

    Example:
        >>> from frostline.objectives.errors import unknown_name
        >>> unknown_name("strategy", "fulll", ["full", "partial"])
        "Unknown strategy 'fulll'. Did you mean 'full'? Valid: full, partial."
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    choices = f"See them with: {list_valid}" if list_valid else f"Valid: {', '.join(names)}."
    return f"Unknown {kind} {name!r}.{hint} {choices}"
