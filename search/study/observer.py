"""What happens in a study, as calls an observer can take up: the search tells, views show."""

from __future__ import annotations

from collections.abc import Callable

from ...objectives.epochs import EpochResult
from ..records import FinalRecord, TrialRecord, finished
from .settings import StudySettings


class Observer:
    """Sees a study run. Every method does nothing, to be overridden; none may raise or take long."""

    def study_started(self, settings: StudySettings, trials: list[TrialRecord]) -> None:
        """A search begins or goes on, with the trials there are already."""

    def note(self, message: str) -> None:
        """Something worth a line: a file left out, a layer not in the weights, a trial taken up again."""

    def workers_at_work(self, count: int) -> None:
        """So many processes work on the study, from now on."""

    def decoding(self, done: int, total: int) -> None:
        """So many of the images are decoded."""

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        """A trial begins that trains at most so many epochs."""

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        """A trial finished an epoch."""

    def trial_finished(self, trial: TrialRecord) -> None:
        """A trial ended: complete, pruned or failed."""

    def trial_cut_off(self, number: int) -> None:
        """Who trained a trial has it no longer: it waits for a worker, or another has it."""

    def final_started(self, strategy: str, seed: int, place: int, total: int) -> None:
        """The place-th (from 1) of the finals begins."""

    def final_finished(self, final: FinalRecord) -> None:
        """A finalist was trained and tested."""

    def final_cut_off(self, strategy: str, seed: int) -> None:
        """Who trained a final has it no longer."""

    def close(self) -> None:
        """Nothing more comes; leave the terminal as it was."""


class LineProgress(Observer):
    """One line an event, for pipes and logs.

    Args:
        write: Where a line goes.
    """

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._write = write
        self._budget = 0

    def study_started(self, settings: StudySettings, trials: list[TrialRecord]) -> None:
        self._budget = settings.trials
        done = f", {finished(trials)} done" if finished(trials) else ""
        self._write(f"study {settings.name}: {settings.trials} trials of {len(settings.strategies)} strategies{done}")

    def note(self, message: str) -> None:
        self._write(f"note: {message}")

    def trial_finished(self, trial: TrialRecord) -> None:
        score = "" if trial.score is None else f" {trial.score:.4f}"
        reason = f" ({trial.reason})" if trial.reason else ""
        seconds = "" if trial.seconds is None else f" in {trial.seconds:.1f} s"
        place = f"trial {trial.number + 1}/{self._budget}"
        self._write(f"{place} {trial.strategy} {trial.state}{score}{seconds}{reason}")

    def trial_cut_off(self, number: int) -> None:
        self._write(f"trial {number + 1}/{self._budget} was cut off")

    def final_started(self, strategy: str, seed: int, place: int, total: int) -> None:
        self._write(f"final {place}/{total} {strategy} seed {seed}")

    def final_finished(self, final: FinalRecord) -> None:
        self._write(f"final {final.strategy} seed {final.seed} test {final.test_score:.4f} in {final.seconds:.1f} s")

    def final_cut_off(self, strategy: str, seed: int) -> None:
        self._write(f"final {strategy} seed {seed} was cut off")
