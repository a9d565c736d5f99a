"""The extension of a study: how many more trials, device seconds and seeds a resume asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...objectives.errors import InvalidInputError
from ..durations import parse_duration, write_duration
from ..limits import number_faults, sureness_faults
from ..records import finished
from .settings import StudySettings
from .study import Study


@dataclass(frozen=True)
class Extension:
    """What a resume asks for; None keeps what the study has.

    Attributes:
        trials: Number of trials in total.
        seeds: Number of seeds that a finalist may have, whatever they cost.
        budget: Device seconds in total, such as ``30m``, or in addition, such as ``+10m``.
        stop_when_sure: Probability with which the search ends early; 1 to run all trials.
    """

    trials: int | None = None
    seeds: int | None = None
    budget: str | None = None
    stop_when_sure: float | None = None

    def of(self, study: Study) -> StudySettings | None:
        """Return the settings of the extended study; None if nothing grows or changes.

        Raises:
            InvalidInputError: Something would shrink, or what is asked for cannot let the search go on.
        """
        present = study.settings
        limits = (("--trials", self.trials, present.trials), ("--seeds", self.seeds, present.finals_seeds))
        faults = [
            f"{option} {new} is below the study's {old}; it can only grow."
            for option, new, old in limits
            if new is not None and old is not None and new < old
        ]
        faults += number_faults({"--trials": self.trials, "--seeds": self.seeds})
        if self.trials is not None and present.trials is None:
            faults.append(
                f"--trials {self.trials}: the study has no limit of trials, and it can only grow. "
                "Extend its budget: --budget +10m"
            )
        budget: float | None = None
        try:
            budget = self.budget_of(present)
            if budget is not None and budget < (present.budget or 0.0):
                faults.append(
                    f"--budget {self.budget} is below the study's {write_duration(present.budget or 0.0)}; it can only "
                    "grow. Add to it: --budget +10m"
                )
        except InvalidInputError as error:
            faults += error.faults
        faults += self.ending_faults(present)
        if not faults:
            faults = _futile(study, self.trials or present.trials, budget or present.budget, self)
        if faults:
            raise InvalidInputError(faults)
        more: dict[str, Any] = {"trials": self.trials, "budget": budget}
        changed = {name: new for name, new in more.items() if new is not None}
        if self.stop_when_sure is not None:
            changed["stop_when_sure"] = self.sureness_of(present)
        grown = {name: new for name, new in changed.items() if new != getattr(present, name)}
        return present.model_copy(update=grown) if grown or self.seeds is not None else None

    def sureness_of(self, present: StudySettings) -> float | None:
        """Return the probability with which the search ends early; None if it runs all trials."""
        asked = present.stop_when_sure if self.stop_when_sure is None else self.stop_when_sure
        return None if asked == 1 else asked

    def ending_faults(self, present: StudySettings) -> list[str]:
        """Return the faults of the probability with which the search ends early."""
        if self.stop_when_sure == 1:
            return []
        return sureness_faults(self.stop_when_sure, len(present.strategies), off="1 runs all trials.")

    def budget_of(self, present: StudySettings) -> float | None:
        """Return the whole budget in device seconds; None if none is asked for.

        Raises:
            InvalidInputError: It is not a time, or adds to a budget that the study does not have.
        """
        if self.budget is None:
            return None
        more = self.budget.strip().startswith("+")
        seconds = parse_duration("--budget", self.budget.strip().removeprefix("+"))
        if more and present.budget is None:
            raise InvalidInputError(
                f"--budget {self.budget}: the study has no budget to add to. Give the whole of it: --budget 30m"
            )
        return seconds + (present.budget or 0.0) if more else seconds


NO_EXTENSION = Extension()


def _futile(study: Study, trials: int | None, budget: float | None, asked: Extension) -> list[str]:
    """Return why more of one limit adds no trial: the other one has ended the search."""
    use = study.tickets.use()
    if asked.trials is not None and asked.trials != study.settings.trials and budget and use.seconds >= budget:
        return [
            f"--trials {asked.trials} adds no trial: the budget of {write_duration(budget)} is spent. "
            f"Extend it too: --trials {asked.trials} --budget +10m"
        ]
    if asked.budget is not None and budget and budget != study.settings.budget and use.seconds >= budget:
        return [
            f"--budget {asked.budget} adds no trial: the trials have used {write_duration(use.seconds)} already. "
            f"Give more than that: --budget {write_duration(2 * use.seconds)}"
        ]
    if asked.budget is not None and budget != study.settings.budget and trials and finished(study.trials()) >= trials:
        return [
            f"--budget {asked.budget} adds no trial: all {trials} trials have ended. "
            f"Raise their number too: --budget {asked.budget} --trials {2 * trials}"
        ]
    return []
