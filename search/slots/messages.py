"""Messages from a slot to its supervisor: one dataclass per message, sent as a line of JSON.

Both processes run the same version of Frostline, so messages have no version of their own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter, with_config

from ...objectives.epochs import EpochResult
from ..records import TrialRecord

# An unknown field is an error, so that nothing is lost silently.
_exact = with_config(ConfigDict(extra="forbid"))


@_exact
@dataclass(frozen=True)
class Waits:
    """The slot waits for a place to run, or no longer waits."""

    waits: bool


@_exact
@dataclass(frozen=True)
class JournalEntry:
    """A record for the journal.

    Attributes:
        kind: Kind of the record.
        key: Key of the run.
        content: Values of the record.
    """

    kind: str
    key: str
    content: dict[str, Any]


@_exact
@dataclass(frozen=True)
class Note:
    """A line for the user."""

    text: str


@_exact
@dataclass(frozen=True)
class BudgetUsed:
    """What all workers have used of the budget, in device seconds."""

    seconds: float


@_exact
@dataclass(frozen=True)
class TrialStarted:
    """A trial starts, with its maximum number of epochs."""

    number: int
    strategy: str
    epochs: int


@_exact
@dataclass(frozen=True)
class EpochFinished:
    """A trial finished an epoch."""

    number: int
    result: EpochResult


@_exact
@dataclass(frozen=True)
class TrialFinished:
    """A trial ended as complete, pruned or failed."""

    trial: TrialRecord


@_exact
@dataclass(frozen=True)
class TrialCutOff:
    """Another worker took over a trial that the slot had started."""

    number: int


@_exact
@dataclass(frozen=True)
class FinalStarted:
    """A final starts; ``place`` is its position among all finals, from 1."""

    finalist: str
    seed: int
    place: int
    total: int


@_exact
@dataclass(frozen=True)
class FinalFinished:
    """A final was trained and tested; its results are in the database."""

    strategy: str
    trial_number: int
    seed: int


@_exact
@dataclass(frozen=True)
class FinalCutOff:
    """Another worker took over a final that the slot had started."""

    finalist: str
    seed: int


Message = (
    Waits
    | JournalEntry
    | Note
    | BudgetUsed
    | TrialStarted
    | EpochFinished
    | TrialFinished
    | TrialCutOff
    | FinalStarted
    | FinalFinished
    | FinalCutOff
)
_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> str:
    """Encode a message as a line, including the line break.

    Example:
        >>> from frostline.search.slots import TrialCutOff, decode, encode
        >>> encode(TrialCutOff(7))
        '["TrialCutOff", {"number": 7}]\\n'
        >>> decode(encode(TrialCutOff(7)))
        TrialCutOff(number=7)
    """
    return json.dumps([type(message).__name__, asdict(message)], default=_plain) + "\n"


def decode(line: str) -> Message:
    """Decode the message of a line.

    Raises:
        ValueError: The line is not a message of this version.
    """
    name, values = json.loads(line)
    if name not in _KINDS:
        raise ValueError(f"A slot sent an unknown message {name!r}.")
    return _adapter(name).validate_python(values)


@cache
def _adapter(name: str) -> TypeAdapter[Message]:
    return TypeAdapter(_KINDS[name])


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be sent in a message")
