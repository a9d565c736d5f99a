"""Observers of a running study: the search calls them, views show what they receive."""

from __future__ import annotations

from collections.abc import Callable

from ...objectives.epochs import EpochResult
from ..records import FinalScores, TrialRecord, finished
from .settings import StudySettings


class Observer:
    """The observer of a running study. Methods do nothing by default; overrides must be fast and must not raise."""

    def study_started(self, settings: StudySettings, trials: list[TrialRecord]) -> None:
        """A study starts or resumes, with the trials it has."""

    def note(self, message: str) -> None:
        """A message of one line: a file left out, a layer missing in the weights, a trial resumed."""

    def workers_at_work(self, count: int) -> None:
        """The number of working processes is now ``count``."""

    def budget_used(self, seconds: float) -> None:
        """All workers have used ``seconds`` of the study's budget together."""

    def decoding(self, done: int, total: int) -> None:
        """``done`` of ``total`` images are decoded."""

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        """A trial starts, with at most ``epochs`` epochs, or folds."""

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        """A trial finished an epoch, or a fold, whose score is then the mean of the folds so far."""

    def trial_finished(self, trial: TrialRecord) -> None:
        """A trial ended complete, pruned or failed."""

    def trial_cut_off(self, number: int) -> None:
        """A trial was interrupted: it waits for a worker, or another worker took it over."""

    def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
        """A final starts, number ``place`` (from 1) of the ``total`` that are due so far.

        Args:
            finalist: Strategy and trial number, such as ``lp_ft-7``.
            seed: Seed of the training.
            place: Number of the final.
            total: Number of finals.
        """

    def final_finished(self, final: FinalScores) -> None:
        """A final was trained and tested."""

    def final_cut_off(self, finalist: str, seed: int) -> None:
        """A final was interrupted: it waits for a worker, or another worker took it over."""

    def close(self) -> None:
        """No calls follow; restore the terminal."""


class LineProgress(Observer):
    """One line per event, for pipes and logs.

    Args:
        write: Function that writes a line.
    """

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._write = write
        self._trials: int | None = None

    def study_started(self, settings: StudySettings, trials: list[TrialRecord]) -> None:
        self._trials = settings.trials
        done = f", {finished(trials)} done" if finished(trials) else ""
        self._write(f"study {settings.name}: {settings.extent}{done}")

    def note(self, message: str) -> None:
        self._write(f"note: {message}")

    def trial_finished(self, trial: TrialRecord) -> None:
        score = "" if trial.score is None else f" {trial.score:.4f}"
        reason = f" ({trial.reason})" if trial.reason else ""
        seconds = "" if trial.seconds is None else f" in {trial.seconds:.1f} s"
        self._write(f"{self._place(trial.number)} {trial.strategy} {trial.state}{score}{seconds}{reason}")

    def trial_cut_off(self, number: int) -> None:
        self._write(f"{self._place(number)} was interrupted")

    def _place(self, number: int) -> str:
        return f"trial {number + 1}" + ("" if self._trials is None else f"/{self._trials}")

    def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
        self._write(f"final {place}/{total} {finalist} seed {seed}")

    def final_finished(self, final: FinalScores) -> None:
        self._write(f"final {final.finalist} seed {final.seed} test {final.test_score:.4f} in {final.seconds:.1f} s")

    def final_cut_off(self, finalist: str, seed: int) -> None:
        self._write(f"final {finalist} seed {seed} was interrupted")
