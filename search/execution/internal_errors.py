"""Bugs of Frostline among the errors that end trials: the search stops, before all its trials fail by the same one."""

from __future__ import annotations

import traceback

from ...objectives.errors import TrainingFailedError
from ..records import TrialRecord

# So many trials that fail at the same line end a search.
MAX_SAME_FAILURES = 3
# Errors that only a wrong program raises. Data, devices and disks raise others.
_BUGS = (TypeError, AttributeError, NameError, LookupError, AssertionError)
_PACKAGE = __name__.partition(".")[0]
_PREFIX = "internal error at "


def internal_reason(error: Exception) -> str | None:
    """Return the reason of a failure that a bug of Frostline caused; None for other errors.

    The bug is in Frostline if its own code raised the error, not a library, a plugin or a network of the user.
    """
    if not isinstance(error, _BUGS):
        return None
    raised = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    module = str(raised[0].f_globals.get("__name__")) if raised else ""
    if module.partition(".")[0] != _PACKAGE:
        return None
    (line,) = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{_PREFIX}{module}, line {line.lineno}: {traceback.format_exception_only(error)[-1].splitlines()[0]}"


class InternalErrors:
    """The trials of a search that failed by bugs of Frostline."""

    def __init__(self) -> None:
        self._failed: dict[str, list[TrialRecord]] = {}

    def note(self, trial: TrialRecord) -> None:
        """Note a trial that ended."""
        reason = trial.reason or ""
        if reason.startswith(_PREFIX):
            self._failed.setdefault(reason.partition(":")[0], []).append(trial)

    def check(self) -> None:
        """Check that no bug has failed too many trials.

        Raises:
            TrainingFailedError: The same bug has failed several trials.
        """
        for failed in self._failed.values():
            if len(failed) < MAX_SAME_FAILURES:
                continue
            numbers = ", ".join(str(trial.number) for trial in failed)
            raise TrainingFailedError(
                f"Trials {numbers} failed by the same {failed[-1].reason}. The search stops, since others would fail "
                "too. Check what plugins and networks of your own return; otherwise this is a bug of Frostline: please "
                f"report it with traceback.txt of the MLflow run of trial {failed[-1].number}."
            )
