"""The live view of a study in a terminal, redrawn in place."""

from __future__ import annotations

import atexit
from collections import Counter
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ...search.formats import duration, percent, plural
from ...search.records import FinalScores, StrategySummary, finished, summarize
from ...search.study import StudySettings
from ..palette import look
from .device_use import DeviceUse
from .live_state import FinalUnderWay, LiveState, TrialUnderWay
from .rich_tables import plain_table, print_verdict, status_table, verdict_table

__all__ = ["LiveProgress", "print_verdict", "status_table", "verdict_table"]

RUNNING_SHOWN = 4
_BAR_WIDTH = 20


class LiveProgress(LiveState):
    """A live view of a running study, redrawn in place and erased when it closes.

    Notes, and whatever other code prints to standard output or error, tracebacks included, appear above the view.

    Args:
        console: Console of a terminal.
        device: Description of the training device.
    """

    def __init__(self, console: Console, device: str | None = None) -> None:
        super().__init__()
        self._console = console
        self._device = device
        self._use = DeviceUse()
        self._live: Live | None = None

    def note(self, message: str) -> None:
        self._console.print(Text(f"note: {message}", style="dim"))

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

    def changed(self) -> None:
        if self._live is None:
            self._live = Live(get_renderable=self._render, console=self._console, transient=True, refresh_per_second=4)
            # Show the cursor again even if the program exits without closing the view.
            atexit.register(self.close)
            self._live.start()

    def _render(self) -> RenderableType:
        """Render the view; Rich calls this from its own thread."""
        with self.lock:
            return Group(*draw(self, self._device, self._use.describe()))


def draw(state: LiveState, device: str | None = None, use: str = "") -> Iterator[RenderableType]:
    """Yield the lines and tables of a study's live view, for any width.

    Args:
        state: State of the study.
        device: Description of the training device.
        use: Description of the machine's load.
    """
    settings = state.settings
    if settings is not None:
        yield _header(settings, device)
        yield _budget_line(state, settings)
    if state.finals_total:
        yield _finals_line(state)
    yield from _running_lines(state.running, "fold" if settings is not None and settings.folds else "epoch")
    if settings is not None:
        yield _workers_line(state.workers, use)
        yield Padding(_strategies(state, settings), (1, 0))
    if state.finals:
        yield Padding(_finals_table(state.finals), (0, 0, 1, 0))
    yield from (_line(event.text, "red" if event.failed else "dim") for event in state.events)


def _header(settings: StudySettings, device: str | None) -> Text:
    parts = [settings.backbone, settings.data] + ([device] if device else [])
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(settings.name, style="bold")
    text.append("  " + " · ".join(parts), style="dim")
    return text


def _budget_line(state: LiveState, settings: StudySettings) -> RenderableType:
    done, left = finished(list(state.trials.values())), state.seconds_left()
    text = f"trials {done}" + ("" if settings.trials is None else f"/{settings.trials}")
    share = 0.0 if settings.trials is None else done / settings.trials
    if settings.budget is not None:
        text += f", {duration(state.budget_seconds)} of {duration(settings.budget)} used"
        share = max(share, state.budget_seconds / settings.budget)
    elif state.trained_seconds:
        text += f", trained for {duration(state.trained_seconds)}"
    # Nothing is left for a moment after the last final.
    if left:
        text += f", about {duration(left)} left"
    return _bar_line(share, 1, text)


def _bar_line(done: float, total: int, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(ProgressBar(total=max(1, total), completed=min(done, max(1, total)), width=_BAR_WIDTH), _line(text))
    return grid


def _workers_line(workers: int, use: str) -> Text:
    who = plural(workers, "worker") if workers else "no worker is running"
    return _line(f"{who} · this machine: {use}" if use else who, "dim")


def _running_lines(running: dict[int, TrialUnderWay], unit: str) -> Iterator[RenderableType]:
    """Yield the running trials, those of a population that train just now first, and the number of the others."""
    busy = [(number, trial) for number, trial in sorted(running.items()) if 0 < trial.epoch < trial.epochs]
    shown = (busy or sorted(running.items()))[:RUNNING_SHOWN]
    yield from (_running_line(number, trial, unit) for number, trial in shown)
    if len(running) > len(shown):
        yield _line(f"and {len(running) - len(shown)} more running", "dim")


def _running_line(number: int, trial: TrialUnderWay, unit: str) -> RenderableType:
    of = f"/{trial.epochs}" if trial.epochs else ""
    phase = f" {trial.phase}" if trial.phase else ""
    score = "" if trial.score is None else f", {percent(trial.score)}"
    text = f"trial {number} {trial.strategy}: {unit} {trial.epoch}{of}{phase}{score}"
    return _bar_line(trial.epoch, trial.epochs, text)


def _finals_line(state: LiveState) -> RenderableType:
    running = list(state.finals_running.values())
    text = f"final {state.finals_place}/{state.finals_total}"
    text += ": " + "; ".join(map(_describe_final, running)) if running else ""
    return _bar_line(state.finals_place - len(running), state.finals_total, text)


def _describe_final(final: FinalUnderWay) -> str:
    return f"{final.finalist}, seed {final.seed}" + (f", epoch {final.epoch}" if final.epoch else "")


def _finals_table(finals: list[FinalScores]) -> RenderableType:
    counts = Counter(final.strategy for final in finals)
    grid = Table.grid(padding=(0, 2))
    for strategy in counts:
        scores = [percent(final.test_score) for final in finals if final.strategy == strategy]
        grid.add_row(Text(strategy, style=look(strategy).color), Text("test " + ", ".join(scores)))
    return grid


def _strategies(state: LiveState, settings: StudySettings) -> RenderableType:
    table = plain_table(gap=2)
    table.add_column("strategy", no_wrap=True)
    for title in ("complete", "pruned", "failed", "best val."):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", width=_BAR_WIDTH)
    summaries = summarize(list(state.trials.values()), settings.strategies)
    leading = max((_best_score(summary) for summary in summaries), default=0.0)
    for summary in summaries:
        table.add_row(*_strategy_row(summary, leads=_best_score(summary) == leading > 0))
    return table


def _best_score(summary: StrategySummary) -> float:
    return (summary.best.score if summary.best else None) or 0.0


def _strategy_row(summary: StrategySummary, *, leads: bool) -> tuple[RenderableType, ...]:
    color = look(summary.strategy).color
    best = percent(summary.best.score if summary.best else None)
    return (
        Text(summary.strategy, style=color, no_wrap=True),
        *(Text(str(number)) for number in (summary.complete, summary.pruned, summary.failed)),
        Text(best, style="bold" if leads else ""),
        ProgressBar(total=1.0, completed=_best_score(summary), complete_style=color, finished_style=color),
    )


def _line(text: str, style: str = "") -> Text:
    return Text(" ".join(text.split()), style=style, no_wrap=True, overflow="ellipsis")
