"""The live view of a running study in a terminal, redrawn in place."""

from __future__ import annotations

import atexit
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..objectives.training import EpochResult
from ..search.progress import Observer
from ..search.records import FinalRecord, StrategySummary, TrialRecord, finished, summarise
from ..search.settings import StudySettings
from .formats import duration, percent
from .palette import look
from .terminal_tables import plain_table, print_verdict, status_table, verdict_table

__all__ = ["LiveProgress", "print_verdict", "status_table", "verdict_table"]

EVENTS_SHOWN = 4
RUNNING_SHOWN = 3
_BAR_WIDTH = 20


@dataclass
class _Running:
    """A trial in flight."""

    strategy: str
    epochs: int
    epoch: int = 0
    phase: str = ""
    score: float | None = None

    @property
    def share(self) -> float:
        return min(1.0, self.epoch / max(1, self.epochs))


@dataclass
class _Finals:
    """The finals so far."""

    place: int = 0
    total: int = 0
    current: str = ""
    epoch: int = 0
    started: float = field(default_factory=time.monotonic)
    done: list[FinalRecord] = field(default_factory=list)


class LiveProgress(Observer):
    """A study as it runs, redrawn in place; notes are printed above it, and nothing stays behind when it closes.

    What other code prints to standard output or error while the view is up, tracebacks included, lands above it too.

    Args:
        console: A terminal.
        device: Where it trains, in words.
    """

    def __init__(self, console: Console, device: str | None = None) -> None:
        self._console = console
        self._device = device
        self._live: Live | None = None
        # The view is drawn by Rich's own thread while the study goes on in another.
        self._lock = threading.RLock()
        self._settings: StudySettings | None = None
        self._trials: dict[int, TrialRecord] = {}
        self._running: dict[int, _Running] = {}
        self._finals: _Finals | None = None
        self._events: deque[Text] = deque(maxlen=EVENTS_SHOWN)
        self._started = time.monotonic()
        self._done_before = 0

    def study_started(self, settings: StudySettings, trials: list[TrialRecord]) -> None:
        with self._lock:
            self._settings = settings
            self._trials = {trial.number: trial for trial in trials}
            self._started = time.monotonic()
            self._done_before = finished(trials)
        self._show()

    def note(self, message: str) -> None:
        self._console.print(Text(f"note: {message}", style="dim"))

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        with self._lock:
            self._running[number] = _Running(strategy, epochs)
        self._show()

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        with self._lock:
            if self._finals is not None:
                self._finals.epoch = result.epoch + 1
            elif number in self._running:
                trial = self._running[number]
                trial.epoch, trial.phase, trial.score = result.epoch + 1, result.phase, result.score
        self._show()

    def trial_finished(self, trial: TrialRecord) -> None:
        with self._lock:
            self._running.pop(trial.number, None)
            self._trials[trial.number] = trial
            self._events.append(_trial_event(trial))
        self._show()

    def final_started(self, strategy: str, seed: int, place: int, total: int) -> None:
        with self._lock:
            self._finals = self._finals or _Finals()
            self._finals.place, self._finals.total = place, total
            self._finals.current, self._finals.epoch = f"{strategy}, seed {seed}", 0
        self._show()

    def final_finished(self, final: FinalRecord) -> None:
        with self._lock:
            self._finals = self._finals or _Finals()
            self._finals.done.append(final)
            self._events.append(_final_event(final))
        self._show()

    def close(self) -> None:
        """Erase the view and show the cursor again; a second call does nothing."""
        live, self._live = self._live, None
        if live is not None:
            atexit.unregister(self.close)
            live.stop()

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _show(self) -> None:
        if self._live is None:
            self._live = Live(get_renderable=self._render, console=self._console, transient=True, refresh_per_second=4)
            # A program that ends without closing the view must still leave the cursor visible.
            atexit.register(self.close)
            self._live.start()

    def _render(self) -> RenderableType:
        with self._lock:
            return Group(*self._parts())

    def _parts(self) -> Iterator[RenderableType]:
        if self._settings is not None:
            yield _header(self._settings, self._device)
            yield self._budget_line(self._settings)
        if self._finals is not None:
            yield _finals_line(self._finals)
        yield from _running_lines(self._running)
        if self._settings is not None:
            yield Padding(self._strategies(self._settings), (1, 0))
        if self._finals is not None and self._finals.done:
            yield _finals_table(self._finals.done)
        yield from self._events

    def _budget_line(self, settings: StudySettings) -> RenderableType:
        done = finished(list(self._trials.values()))
        elapsed = time.monotonic() - self._started
        text = f"trials {done}/{settings.trials}  {duration(elapsed)}"
        in_flight = sum(trial.share for trial in self._running.values())
        left = _time_left(elapsed, done - self._done_before + in_flight, settings.trials - done - in_flight)
        if left is not None and self._finals is None:
            text += f", about {duration(left)} left"
        return _bar_line(done, settings.trials, text)

    def _strategies(self, settings: StudySettings) -> RenderableType:
        table = plain_table(gap=2)
        table.add_column("strategy", no_wrap=True)
        for title in ("complete", "pruned", "failed", "best val."):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("", width=_BAR_WIDTH)
        summaries = summarise(list(self._trials.values()), settings.strategies)
        leading = max((_best_score(summary) for summary in summaries), default=0.0)
        for summary in summaries:
            table.add_row(*_strategy_row(summary, leads=_best_score(summary) == leading > 0))
        return table


def _header(settings: StudySettings, device: str | None) -> Text:
    parts = [settings.backbone, settings.data] + ([device] if device else [])
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(settings.name, style="bold")
    text.append("  " + " · ".join(parts), style="dim")
    return text


def _bar_line(done: float, total: int, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=max(1, total), completed=min(done, max(1, total)), width=_BAR_WIDTH), _line(text))
    return grid


def _time_left(elapsed: float, done: float, remaining: float) -> float | None:
    """None until enough is done to tell."""
    return elapsed / done * max(0.0, remaining) if done >= 0.5 else None


def _running_lines(running: dict[int, _Running]) -> Iterator[RenderableType]:
    """The trials in flight; of a population those that train just now, and how many more there are."""
    busy = [(number, trial) for number, trial in sorted(running.items()) if 0 < trial.epoch < trial.epochs]
    shown = (busy or sorted(running.items()))[:RUNNING_SHOWN]
    yield from (_running_line(number, trial) for number, trial in shown)
    if len(running) > len(shown):
        yield _line(f"and {len(running) - len(shown)} more that train together", "dim")


def _running_line(number: int, trial: _Running) -> RenderableType:
    phase = f" {trial.phase}" if trial.phase else ""
    score = "" if trial.score is None else f", {percent(trial.score)}"
    return _bar_line(
        trial.epoch, trial.epochs, f"trial {number} {trial.strategy}: epoch {trial.epoch}/{trial.epochs}{phase}{score}"
    )


def _finals_line(finals: _Finals) -> RenderableType:
    text = f"final {finals.place}/{finals.total}: {finals.current}"
    text += f", epoch {finals.epoch}" if finals.epoch else ""
    done, elapsed = len(finals.done), time.monotonic() - finals.started
    left = _time_left(elapsed, done, finals.total - done)
    if left:
        text += f", about {duration(left)} left"
    return _bar_line(done, finals.total, text)


def _finals_table(finals: list[FinalRecord]) -> RenderableType:
    counts = Counter(final.strategy for final in finals)
    grid = Table.grid(padding=(0, 2))
    for strategy in counts:
        scores = [percent(final.test_score) for final in finals if final.strategy == strategy]
        grid.add_row(Text(strategy, style=look(strategy).colour), Text("test " + ", ".join(scores)))
    return grid


def _best_score(summary: StrategySummary) -> float:
    return (summary.best.score if summary.best else None) or 0.0


def _strategy_row(summary: StrategySummary, *, leads: bool) -> tuple[RenderableType, ...]:
    colour = look(summary.strategy).colour
    best = percent(summary.best.score if summary.best else None)
    return (
        Text(summary.strategy, style=colour, no_wrap=True),
        *(Text(str(number)) for number in (summary.complete, summary.pruned, summary.failed)),
        Text(best, style="bold" if leads else ""),
        ProgressBar(total=1.0, completed=_best_score(summary), complete_style=colour, finished_style=colour),
    )


def _trial_event(trial: TrialRecord) -> Text:
    outcome = trial.state + ("" if trial.score is None else f", validation {percent(trial.score)}")
    took = "" if trial.seconds is None else f" in {duration(trial.seconds)}"
    reason = f": {trial.reason}" if trial.reason else ""
    style = "red" if trial.state == "failed" else "dim"
    return _line(f"trial {trial.number} {trial.strategy or '?'} {outcome}{took}{reason}", style)


def _final_event(final: FinalRecord) -> Text:
    outcome = f"test {percent(final.test_score)} in {duration(final.seconds)}"
    return _line(f"final {final.strategy} seed {final.seed}: {outcome}", "dim")


def _line(text: str, style: str = "") -> Text:
    return Text(" ".join(text.split()), style=style, no_wrap=True, overflow="ellipsis")
