"""The state of a study for the live view, updated by an observer's calls from any thread."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from ...objectives.epochs import EpochResult
from ...search.formats import duration, percent
from ...search.records import FINISHED, FinalScores, TrialRecord, finished, read_finalist
from ...search.study import Finalist, Observer, StudySettings, choose_finalists, list_candidates

EVENTS_KEPT = 4


@dataclass
class TrialUnderWay:
    """A running trial; ``epochs`` is its maximum number of epochs, or of folds, 0 if unknown."""

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
    """A running final; ``finalist`` is the name of its configuration, such as ``lp_ft-7``."""

    finalist: str
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
        finals_running: Running finals, by configuration and seed.
        finals_place: Number of finals that have started.
        finals_total: Number of finals in total; 0 before the first.
        events: Latest events.
        workers: Number of processes that work on the study.
        budget_seconds: Seconds of the budget that all workers have used.
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
        self.budget_seconds = 0.0

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

    def budget_used(self, seconds: float) -> None:
        with self.lock:
            self.budget_seconds = seconds
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

    def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
        with self.lock:
            self.finals_running[finalist, seed] = FinalUnderWay(finalist, seed)
            self.finals_place, self.finals_total = max(place, self.finals_place), total
        self.changed()

    def final_finished(self, final: FinalScores) -> None:
        with self.lock:
            self.finals_running.pop((final.finalist, final.seed), None)
            self.finals.append(final)
            self.events.append(_final_event(final))
        self.changed()

    def final_cut_off(self, finalist: str, seed: int) -> None:
        with self.lock:
            self.finals_running.pop((finalist, seed), None)
            self.events.append(Event(f"final {finalist} seed {seed} was interrupted"))
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
        left = self._trials_left(self.settings, usual)
        under_way = [1 - trial.share for trial in self.running.values()][:left]
        trials = usual * (left - len(under_way) + sum(under_way))
        finals = self._finals_left(self.settings, usual if left else None)
        return trials / self._at_once(left) + sum(finals) / self._at_once(len(finals))

    def _trials_left(self, settings: StudySettings, usual: float) -> int:
        """Return how many trials will end before the search does, by its number of trials or its budget."""
        limits = []
        if settings.trials is not None:
            limits.append(settings.trials - finished(list(self.trials.values())))
        if settings.budget is not None:
            # The trial in which the budget ends is the last.
            limits.append(math.ceil((settings.budget - self.budget_seconds) / usual))
        return max(0, min(limits))

    def _at_once(self, pieces: int) -> int:
        return max(1, min(self.workers, pieces))

    def _finals_left(self, settings: StudySettings, unknown: float | None) -> list[float]:
        """Return the seconds that each running or future final still needs.

        Args:
            settings: Settings of the study.
            unknown: Seconds for strategies without a complete trial; None if they will have no finals.
        """
        begun = self._finals_begun()
        chosen = choose_finalists(settings, list(self.trials.values()), None, self.finals)
        most = max((begun[trial.number] for trial in chosen.values()), default=0)
        left: list[float] = []
        for strategy in settings.strategies:
            finalist = chosen.get(strategy)
            candidates = {each.trial.number: each.trial for each in self._candidates(settings, strategy)}
            if finalist is None and not candidates:
                left += [] if unknown is None else [unknown] * settings.race_rules.foreseen(0, most)
            # The first seed of each candidate, while the finalist is not chosen; then those of the race.
            due = candidates if finalist is None else {finalist.number: finalist}
            left += [trial.seconds or 0.0 for number, trial in due.items() if not begun[number]]
            racing = finalist or next(iter(candidates.values()), None)
            if racing is not None:
                own = max(1, begun[racing.number])
                left += [racing.seconds or 0.0] * (settings.race_rules.foreseen(own, max(1, most)) - own)
        return left + self._running_finals_left()

    def _candidates(self, settings: StudySettings, strategy: str) -> list[Finalist]:
        every = list_candidates(settings, list(self.trials.values()), None)
        return [each for each in every if each.strategy == strategy and each.place == 0]

    def _running_finals_left(self) -> list[float]:
        left: list[float] = []
        for final in self.finals_running.values():
            trial = self.trials.get(read_finalist(final.finalist)[1])
            usual = trial.seconds if trial and trial.seconds else 0.0
            left.append(max(0.0, usual - (time.monotonic() - final.began)))
        return left

    def _finals_begun(self) -> Counter[int]:
        """Return how many finals of each trial have ended or are running, by its number."""
        running = (read_finalist(final.finalist)[1] for final in self.finals_running.values())
        return Counter([*(final.trial_number for final in self.finals), *running])


def _trial_event(trial: TrialRecord) -> Event:
    outcome = trial.state + ("" if trial.score is None else f", validation {percent(trial.score)}")
    took = "" if trial.seconds is None else f" in {duration(trial.seconds)}"
    reason = f": {trial.reason}" if trial.reason else ""
    text = f"trial {trial.number} {trial.strategy or '?'} {outcome}{took}{reason}"
    return Event(text, failed=trial.state == "failed")


def _final_event(final: FinalScores) -> Event:
    outcome = f"test {percent(final.test_score)} in {duration(final.seconds)}"
    return Event(f"final {final.finalist} seed {final.seed}: {outcome}")
