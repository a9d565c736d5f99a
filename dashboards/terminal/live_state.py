"""The state of a study for the live view, updated by an observer's calls from any thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ...objectives.epochs import EpochResult
from ...search.formats import duration, percent
from ...search.records import FINISHED, FinalScores, TrialRecord, best_trial, finished
from ...search.study import Observer, StudySettings

EVENTS_KEPT = 4


@dataclass
class TrialUnderWay:
    """A running trial; ``epochs`` is its maximum number of epochs, 0 if unknown."""

    strategy: str
    epochs: int
    epoch: int = 0
    phase: str = ""
    score: float | None = None

    @property
    def share(self) -> float:
        return min(1.0, self.epoch / self.epochs) if self.epochs else 0.0


@dataclass
class FinalUnderWay:
    """A running final."""

    strategy: str
    seed: int
    epoch: int = 0
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Event:
    """A line of the event log; ``failed`` marks a failure."""

    text: str
    failed: bool = False


class LiveState(Observer):
    """The state of a study, with its running trials and finals.

    Attributes:
        lock: Lock held during changes; hold it to read several attributes that agree.
        settings: Settings of the study; None before it has started.
        trials: Trials that have ended or are waiting, by number.
        running: Running trials, by number.
        finals: Finals that have ended.
        finals_running: Running finals, by strategy and seed.
        finals_place: Number of finals that have started.
        finals_total: Number of finals in total; 0 before the first.
        events: Latest events.
        workers: Number of processes that work on the study.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.settings: StudySettings | None = None
        self.trials: dict[int, TrialRecord] = {}
        self.running: dict[int, TrialUnderWay] = {}
        self.finals: list[FinalScores] = []
        self.finals_running: dict[tuple[str, int], FinalUnderWay] = {}
        self.finals_place = self.finals_total = 0
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.workers = 1

    def changed(self) -> None:
        """Called after each change; subclasses override it."""

    def study_started(self, settings: StudySettings, trials: list[TrialRecord]) -> None:
        with self.lock:
            self.settings = settings
            self.running, self.finals, self.finals_running = {}, [], {}
            self.finals_place = self.finals_total = 0
            self.trials = {trial.number: trial for trial in trials}
            ended = [trial for trial in trials if trial.state in FINISHED and trial.finished is not None]
            latest = sorted(ended, key=lambda trial: trial.finished.timestamp() if trial.finished else 0.0)
            self.events.extend(_trial_event(trial) for trial in latest[-EVENTS_KEPT:])
        self.changed()

    def workers_at_work(self, count: int) -> None:
        with self.lock:
            self.workers = count
        self.changed()

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        with self.lock:
            self.running[number] = TrialUnderWay(strategy, epochs)
        self.changed()

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        with self.lock:
            if self.finals_total:
                self._final_epoch(result)
            elif number in self.running:
                trial = self.running[number]
                trial.epoch, trial.phase, trial.score = result.epoch + 1, result.phase, result.score
        self.changed()

    def _final_epoch(self, result: EpochResult) -> None:
        """Count an epoch of the running final; of several finals it is not known which one reported."""
        if len(self.finals_running) == 1:
            next(iter(self.finals_running.values())).epoch = result.epoch + 1

    def trial_finished(self, trial: TrialRecord) -> None:
        with self.lock:
            self.running.pop(trial.number, None)
            self.trials[trial.number] = trial
            self.events.append(_trial_event(trial))
        self.changed()

    def trial_cut_off(self, number: int) -> None:
        with self.lock:
            cut_off = self.running.pop(number, None)
            if cut_off is not None:
                self.events.append(Event(f"trial {number} {cut_off.strategy} was interrupted"))
        self.changed()

    def final_started(self, strategy: str, seed: int, place: int, total: int) -> None:
        with self.lock:
            self.finals_running[strategy, seed] = FinalUnderWay(strategy, seed)
            self.finals_place, self.finals_total = max(place, self.finals_place), total
        self.changed()

    def final_finished(self, final: FinalScores) -> None:
        with self.lock:
            self.finals_running.pop((final.strategy, final.seed), None)
            self.finals.append(final)
            self.events.append(_final_event(final))
        self.changed()

    def final_cut_off(self, strategy: str, seed: int) -> None:
        with self.lock:
            self.finals_running.pop((strategy, seed), None)
            self.events.append(Event(f"final {strategy} seed {seed} was interrupted"))
        self.changed()

    @property
    def trained_seconds(self) -> float:
        """Seconds that all trials and finals that have ended took, summed over workers."""
        return sum(each.seconds or 0.0 for each in (*self.trials.values(), *self.finals))

    def seconds_left(self) -> float | None:
        """Estimate the seconds until the verdict; None before the first trial has ended.

        A trial is assumed to take the mean time of the trials so far, a final the time of its strategy's best trial.
        All workers are assumed busy, first with trials, then with finals.
        """
        known = [trial.seconds for trial in self.trials.values() if trial.state in FINISHED and trial.seconds]
        if self.settings is None or not known:
            return None
        usual = float(np.mean(known))
        left = max(0, self.settings.trials - finished(list(self.trials.values())))
        under_way = [1 - trial.share for trial in self.running.values()][:left]
        trials = usual * (left - len(under_way) + sum(under_way))
        finals = self._finals_left(self.settings, usual if left else None)
        return trials / self._at_once(left) + sum(finals) / self._at_once(len(finals))

    def _at_once(self, pieces: int) -> int:
        return max(1, min(self.workers, pieces))

    def _finals_left(self, settings: StudySettings, unknown: float | None) -> list[float]:
        """Return the seconds that each running or future final still needs.

        Args:
            settings: Settings of the study.
            unknown: Seconds for strategies without a complete trial; None if they will have no finals.
        """
        left: list[float] = []
        best = {
            strategy: best_trial([trial for trial in self.trials.values() if trial.strategy == strategy])
            for strategy in settings.strategies
        }
        seeds = {strategy: self._finals_begun(strategy, best[strategy]) for strategy in settings.strategies}
        for strategy in settings.strategies:
            trial = best[strategy]
            seconds = unknown if trial is None else trial.seconds or 0.0
            if seconds is None:
                continue
            running = [final for final in self.finals_running.values() if final.strategy == strategy]
            left += [max(0.0, seconds - (time.monotonic() - final.began)) for final in running]
            left += [seconds] * (settings.race_rules.foreseen(seeds[strategy], max(seeds.values())) - seeds[strategy])
        return left

    def _finals_begun(self, strategy: str, best: TrialRecord | None) -> int:
        """Return how many finals of a strategy's best trial have ended or are running."""
        ended = sum(best is not None and final.trial_number == best.number for final in self.finals)
        return ended + sum(final.strategy == strategy for final in self.finals_running.values())


def _trial_event(trial: TrialRecord) -> Event:
    outcome = trial.state + ("" if trial.score is None else f", validation {percent(trial.score)}")
    took = "" if trial.seconds is None else f" in {duration(trial.seconds)}"
    reason = f": {trial.reason}" if trial.reason else ""
    text = f"trial {trial.number} {trial.strategy or '?'} {outcome}{took}{reason}"
    return Event(text, failed=trial.state == "failed")


def _final_event(final: FinalScores) -> Event:
    outcome = f"test {percent(final.test_score)} in {duration(final.seconds)}"
    return Event(f"final {final.strategy} seed {final.seed}: {outcome}")
