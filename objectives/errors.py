"""Errors of the objectives layer.

ObjectiveError
├── InvalidInputError     the user's input is wrong; the message names it and says what is valid
├── TrainingFailedError   training cannot go on (non-finite loss, frozen part moved); the trial fails with this reason
└── DeviceLostError       this process cannot use its device any more; another one can
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ObjectiveError(Exception):
    """Root of what this layer raises on purpose."""


class InvalidInputError(ObjectiveError):
    """Wrong input, all faults at once.

    Args:
        faults: One or more messages, each naming the thing at fault and what is valid.
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class TrainingFailedError(ObjectiveError):
    """Training ended without a result, for the reason in the message."""


class DeviceLostError(ObjectiveError):
    """The device refuses all further work of this process."""


def unknown_name(kind: str, name: str, valid: Iterable[str], *, list_valid: str | None = None) -> str:
    """A message for an unknown name: the nearest valid one first, then all of them.

    Args:
        kind: What the name is of, e.g. ``"strategy"``.
        name: What the user wrote.
        valid: The valid names.
        list_valid: What to type to see them, for lists too long to print.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    choices = f"See them with: {list_valid}" if list_valid else f"Valid: {', '.join(names)}."
    return f"Unknown {kind} {name!r}.{hint} {choices}"
