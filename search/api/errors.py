"""The one error of the Python interface, with the messages of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...objectives.errors import InvalidInputError, ObjectiveError
from ...storage.errors import StorageError, UnusableError


class FrostlineError(Exception):
    """What a user has to know: the message names the thing and says what to do, as on the command line.

    Args:
        message: Message, a line for each fault.
        wrong_input: Whether the input is wrong, so that nothing was created; otherwise something failed while running.

    Attributes:
        faults: The lines of the message.
        wrong_input: The same as the argument.
    """

    def __init__(self, message: str, *, wrong_input: bool) -> None:
        super().__init__(message)
        self.faults: list[str] = message.splitlines()
        self.wrong_input = wrong_input


@contextmanager
def public_errors() -> Iterator[None]:
    """Raise the errors meant for users as :class:`FrostlineError`; a bug keeps its own type and traceback."""
    try:
        yield
    except (ObjectiveError, StorageError) as error:
        # The traceback of our own modules would hide the message in a notebook.
        raise FrostlineError(str(error), wrong_input=isinstance(error, InvalidInputError | UnusableError)) from None
