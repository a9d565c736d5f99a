"""The live view of a study that other processes work on: polls the database and calls an observer."""

from __future__ import annotations

import math
import time

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from ...objectives.epochs import EpochResult
from ...storage.database import PAUSE, RUN, STOP, ActiveLease
from ..records import FINISHED, FinalScores, TrialRecord
from ..stopping import Stopper
from .observer import Observer
from .results import has_ended, is_decided
from .settings import StudySettings
from .study import Study

# Time within which Ctrl-C and SIGTERM end the view.
_GRACE_SECONDS = 0.05
_CONTROLS = {RUN: "the study continues", PAUSE: "the study is paused", STOP: "the study is stopping"}


def watch_study(study: Study, observer: Observer) -> str:
    """Follow a study until it is finished or has no worker.

    Returns:
        Message about an unfinished study; empty if the study reached its verdict.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C, or the process got SIGTERM; the message says who goes on.
        StorageError: The database cannot be used.
    """
    timing = study.workspace.timing
    watcher, name = Watcher(study, observer), f"{study.settings.name}{study.workspace.option}"
    try:
        with Stopper(_GRACE_SECONDS).listening():
            while True:
                watcher.look()
                if watcher.finished:
                    return ""
                if watcher.idle_seconds > (0 if watcher.wish == STOP else timing.watch_idle):
                    how = "was stopped" if watcher.wish == STOP else "is not finished, and no worker is running"
                    return f"Study {study.settings.name} {how}. Resume it: frostline resume {name}"
                time.sleep(timing.watch)
    except KeyboardInterrupt:
        workers = "no worker is running" if watcher.idle_seconds else "its workers continue"
        raise KeyboardInterrupt(f"Stopped watching {study.settings.name}; {workers}.") from None
    finally:
        observer.close()


class Watcher:
    """The changes of a study between two polls, as calls of an observer.

    Args:
        study: Study to follow.
        observer: Observer to call.

    Attributes:
        finished: Whether all trials and finals had ended at the last poll.
        wish: Desired state of the workers at the last poll.
    """

    def __init__(self, study: Study, observer: Observer) -> None:
        self.finished = False
        self.wish = RUN
        self._study = study
        self._observer = observer
        self._settings: StudySettings | None = None
        self._trials: dict[int, TrialRecord] = {}
        self._finals: list[FinalScores] = []
        self._finals_issued = 0
        self._finals_done: int | None = None
        self._finals_told: set[tuple[str, int, int]] = set()
        self._finals_running: set[tuple[str, int]] = set()
        self._used_seconds = 0.0
        self._workers = -1
        self._seen: dict[str, float] = {}
        self._idle_since: float | None = None

    @property
    def idle_seconds(self) -> float:
        """Return the seconds without a worker; 0 while a worker is running."""
        return 0.0 if self._idle_since is None else time.monotonic() - self._idle_since

    def look(self) -> None:
        """Read the study and report the changes.

        Raises:
            StorageError: The database cannot be used.
        """
        study = self._study
        try:
            study.read_budget()
            trials = study.trials()
        except (SQLAlchemyError, StorageInternalError):
            # Optuna does not wait for an unreachable server; this call does.
            study.wish.get()
            return
        held = [held for held in study.tickets.held() if held.seconds_left > 0]
        finals = [held for held in study.final_tickets.held() if held.seconds_left > 0]
        if study.settings != self._settings:
            self._settings = study.settings
            self._trials = {trial.number: trial for trial in trials if trial.state in FINISHED}
            self._finals_told.clear()
            self._observer.study_started(study.settings, [trial for trial in trials if trial.state != "running"])
        if study.settings.budget is not None:
            self._used_seconds = study.tickets.use().seconds
            self._observer.budget_used(self._used_seconds)
        self._tell_workers({each.owner for each in (*held, *finals)})
        for trial in trials:
            self._tell_trial(trial)
        self._tell_finals(trials, finals)

    def _tell_workers(self, owners: set[str]) -> None:
        now, recent = time.monotonic(), self._study.workspace.timing.watch_recent
        self._seen = {owner: at for owner, at in self._seen.items() if now - at < recent} | dict.fromkeys(owners, now)
        if len(self._seen) != self._workers:
            self._workers = len(self._seen)
            self._observer.workers_at_work(self._workers)
        self._idle_since = None if owners else self._idle_since or now
        if (wish := self._study.wish.get()) != self.wish:
            self.wish = wish
            self._observer.note(_CONTROLS[wish])

    def _tell_trial(self, trial: TrialRecord) -> None:
        number, before = trial.number, self._trials.get(trial.number)
        was_running = before is not None and before.state == "running"
        # A trial records its strategy a moment after it starts.
        if trial.state == "running" and trial.strategy is None:
            return
        self._trials[number] = trial
        if trial.state == "running":
            if not was_running:
                self._observer.trial_started(number, str(trial.strategy), trial.epochs or 0)
            if trial.curve and (before is None or not was_running or len(trial.curve) > len(before.curve)):
                self._observer.epoch_finished(number, _latest_epoch(trial))
        elif trial.state in FINISHED:
            if before is None or before.state not in FINISHED:
                self._observer.trial_finished(trial)
        elif was_running:
            self._observer.trial_cut_off(number)

    def _tell_finals(self, trials: list[TrialRecord], held: list[ActiveLease]) -> None:
        study = self._study
        self._finals_issued, done = study.final_tickets.counts()
        if done != self._finals_done:
            self._finals_done, self._finals = done, study.final_scores()
        candidates = {finalist.identity for finalist in study.candidates(trials)}
        for final in self._finals:
            if final.finalist in candidates and final.identity not in self._finals_told:
                self._finals_told.add(final.identity)
                self._finals_running.discard((final.finalist, final.seed))
                self._observer.final_finished(final)
        self._tell_running_finals(trials, held)
        self.finished = has_ended(study.settings, trials, self._used_seconds, study.ending()) and is_decided(
            study.settings, study.facts, trials, self._finals, study.race_ended
        )

    def _tell_running_finals(self, trials: list[TrialRecord], held: list[ActiveLease]) -> None:
        every = {finalist.subject: finalist for finalist in self._study.candidates(trials)} if held else {}
        found = [(every[str(each.subject)], each.number + 1) for each in held if each.subject in every]
        running = {(finalist.identity, finalist.seed): place for finalist, place in found}
        for finalist, seed in self._finals_running - running.keys():
            self._observer.final_cut_off(finalist, seed)
        for (finalist, seed), place in running.items():
            if (finalist, seed) not in self._finals_running:
                self._observer.final_started(finalist, seed, place, self._finals_issued)
        self._finals_running = set(running)


def _latest_epoch(trial: TrialRecord) -> EpochResult:
    """Return a trial's latest epoch, of which the database has only number and score."""
    epoch, score = list(trial.curve.items())[-1]
    return EpochResult(epoch, "", math.nan, math.nan, score, {}, math.nan)
