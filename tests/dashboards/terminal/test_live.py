from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, Group

from frostline.dashboards.terminal.device_use import describe_gpus, describe_machine
from frostline.dashboards.terminal.live import LiveProgress, draw, print_verdict, status_table, verdict_table
from frostline.dashboards.terminal.live_state import LiveState
from frostline.objectives.epochs import EpochResult
from frostline.search.analysis import reach_verdict
from frostline.search.records import TrialRecord
from frostline.search.study.results import StudyResults
from frostline.search.tracking.nvml import GpuUse

WIDTH = 80


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None, record=True)


def output(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def epoch(number: int) -> EpochResult:
    return EpochResult(number, "finetune", 0.5, 0.4, 0.87, {"head": 1e-3}, 1.0)


def play(live: LiveProgress, results: StudyResults) -> None:
    live.study_started(results.settings, list(results.trials[:5]))
    for trial in results.trials[5:20]:
        live.trial_started(trial.number, trial.strategy or "", 12)
        live.epoch_finished(trial.number, epoch(3))
        live.trial_finished(trial)
    live.trial_started(20, "feature_extraction", 12)
    live.epoch_finished(20, epoch(3))


def drawn(live: LiveProgress) -> str:
    """One picture of the view, as a terminal of 80 columns has it."""
    paper = Console(file=io.StringIO(), width=WIDTH, force_terminal=False)
    paper.print(live._render())
    return output(paper)


def test_search_is_drawn_in_80_columns(console: Console, results: StudyResults) -> None:
    with LiveProgress(console, device="CPU") as live:
        play(live, results)
        picture = drawn(live)
    assert all(len(line) <= WIDTH for line in picture.splitlines())
    for text in (
        "flowers-resnet18  resnet18 · photos of/flowers · CPU",
        "trials 20/25",
        "left",
        "trial 20 feature_extraction: epoch 4/12 finetune, 87.0 %",
        "90.6 %",
        "trial 17 full pruned",
    ):
        assert text in picture
    row = next(line for line in picture.splitlines() if line.startswith("full "))
    assert row.split()[:4] == ["full", "3", "1", "0"]
    assert picture.count("\ntrial ") == 4


def test_over_folds_a_trial_is_drawn_fold_by_fold(console: Console, results: StudyResults) -> None:
    with LiveProgress(console) as live:
        live.study_started(results.settings.model_copy(update={"folds": 5}), [])
        live.trial_started(0, "full", 5)
        live.epoch_finished(0, replace(epoch(1), phase=""))
        picture = drawn(live)
    assert "trial 0 full: fold 2/5, 87.0 %" in picture


def test_finals_are_drawn(console: Console, results: StudyResults) -> None:
    with LiveProgress(console) as live:
        live.study_started(results.settings, list(results.trials))
        live.final_started(results.finals[0].finalist, 0, 5, 15)
        live.final_finished(results.finals[0])
        live.final_started("partial-1", 2, 6, 15)
        live.epoch_finished(3, epoch(7))
        picture = drawn(live)
    assert "final 6/15: partial-1, seed 2, epoch 8" in picture
    assert "\ntrial 3" not in picture, "a final is no trial"
    assert f"test {100 * results.finals[0].test_score:.1f} %" in picture


def test_notes_are_kept_as_written(console: Console, results: StudyResults) -> None:
    with LiveProgress(console) as live:
        live.note("before the start")
        live.study_started(results.settings, [])
        live.note("skipped [bold]a.jpg[/bold]")
    assert "note: before the start" in output(console)
    assert "note: skipped [bold]a.jpg[/bold]" in output(console)


def test_any_order_of_events_is_drawn(results: StudyResults) -> None:
    events: list[Callable[[LiveProgress], None]] = [
        lambda live: live.study_started(results.settings, []),
        lambda live: live.epoch_finished(3, epoch(0)),
        lambda live: live.trial_started(3, "not a strategy", 0),
        lambda live: live.trial_finished(results.trials[9]),
        lambda live: live.final_finished(results.finals[0]),
        lambda live: live.final_started("full-0", 0, 1, 0),
        lambda live: live.close(),
    ]
    for order in itertools.islice(itertools.permutations(events), 0, None, 97):
        live = LiveProgress(Console(file=io.StringIO(), width=WIDTH, force_terminal=True))
        for event in order:
            event(live)
            drawn(live)
        live.close()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_cursor_returns_after_an_error(console: Console, results: StudyResults, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with LiveProgress(console) as live:
            live.study_started(results.settings, [])
            raise error

    with pytest.raises(error):
        interrupted()
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert hidden in output(console)
    assert output(console).rindex(shown) > output(console).rindex(hidden)


def test_prints_of_others_land_above_the_view(console: Console, results: StudyResults) -> None:
    with LiveProgress(console) as live:
        live.study_started(results.settings, [])
        print("from a library")
    assert "from a library" in console.export_text()


def test_verdict_fits_and_names_winner_and_ties(results: StudyResults) -> None:
    paper = Console(file=io.StringIO(), width=WIDTH)
    verdict = results.verdict
    assert verdict is not None
    print_verdict(paper, verdict)
    text = output(paper)
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert "…" not in text
    assert " ".join(text.split()).startswith(verdict.sentence())
    for contender in verdict.contenders:
        row = next(line for line in text.splitlines() if line.startswith(f"{contender.strategy} ") and "±" in line)
        assert verdict.standing(contender) in row
        assert (" tie " in row) == (contender.tied and contender is not verdict.winner)
        assert f"{100 * contender.mean:.1f} ± {100 * contender.spread:.1f} ({len(contender.scores)})" in row


def test_status_counts_trials(undecided: StudyResults) -> None:
    paper = Console(file=io.StringIO(), width=WIDTH)
    paper.print(status_table(undecided))
    row = next(line for line in output(paper).splitlines() if line.startswith("full"))
    assert row.split()[:5] == ["full", "3", "1", "1", "0"]


def test_one_seed_has_no_standard_deviation(results: StudyResults) -> None:
    assert results.verdict is not None
    first = [final for contender in results.verdict.contenders for final in contender.finals[:1]]
    paper = Console(file=io.StringIO(), width=WIDTH)
    paper.print(verdict_table(reach_verdict(first, results.settings.metric)))
    assert "±" not in output(paper)
    assert re.search(r"\(\d+\)", output(paper)) is None


def test_wider_terminals_show_the_same_table(results: StudyResults) -> None:
    verdict = results.verdict
    assert verdict is not None
    papers = [Console(file=io.StringIO(), width=width) for width in (WIDTH, 160)]
    for paper in papers:
        paper.print(verdict_table(verdict))
    assert output(papers[0]) == output(papers[1])


def test_a_population_is_drawn_in_a_few_lines(console: Console, results: StudyResults) -> None:
    live = LiveProgress(console)
    live.study_started(results.settings, [])
    for number in range(8):
        live.trial_started(number, "feature_extraction", 5)
    for number in range(2, 6):
        live.epoch_finished(number, epoch(0))
    text = drawn(live)
    live.close()
    assert [number for number in range(8) if f"trial {number} " in text] == [2, 3, 4, 5]
    assert "and 4 more running" in text


def trial(number: int, strategy: str, seconds: float, **known: Any) -> TrialRecord:
    return TrialRecord(number, "complete", strategy, score=0.5, seconds=seconds, **known)


def test_time_left_is_what_is_left_to_train_over_the_workers(results: StudyResults) -> None:
    settings = results.settings.model_copy(update={"trials": 8, "finals_seeds": 3})
    names = settings.strategies
    state = LiveState()
    state.study_started(settings, [])
    assert state.seconds_left() is None
    for number, strategy in enumerate(names[:4]):
        state.trial_finished(trial(number, strategy, 10.0 * (number + 1)))
    # Means: 25 s a trial; 4 trials are left. Finals: 3 seeds of 10, 20, 30 and 40 s, and of 25 s for the fifth.
    assert state.seconds_left() == pytest.approx(4 * 25 + 3 * (10 + 20 + 30 + 40 + 25))
    state.workers_at_work(2)
    assert state.seconds_left() == pytest.approx(4 * 25 / 2 + 3 * 125 / 2)
    state.trial_started(4, names[4], 10)
    state.epoch_finished(4, epoch(4))
    assert state.seconds_left() == pytest.approx(3.5 * 25 / 2 + 3 * 125 / 2)
    state.trial_cut_off(4)
    assert state.seconds_left() == pytest.approx(4 * 25 / 2 + 3 * 125 / 2)
    for number in range(4, 8):
        state.trial_finished(trial(number, names[3], 25.0))
    # All trials are done; the fifth strategy completed none. The best of equals is the earlier one.
    assert state.seconds_left() == pytest.approx(3 * (10 + 20 + 30 + 40) / 2)
    # More workers than finals do not help.
    state.workers_at_work(100)
    assert state.seconds_left() == pytest.approx(3 * (10 + 20 + 30 + 40) / 12)
    final = replace(results.finals[0], strategy=names[3], trial_number=3, seconds=40.0)
    for seed in range(3):
        state.final_finished(replace(final, seed=seed))
    assert state.seconds_left() == pytest.approx(3 * (10 + 20 + 30) / 9)


def test_what_was_cut_off_is_drawn_no_more(results: StudyResults) -> None:
    with LiveProgress(Console(file=io.StringIO(), width=WIDTH, force_terminal=True)) as live:
        live.study_started(results.settings, [])
        live.trial_started(3, "full", 12)
        live.workers_at_work(0)
        live.trial_cut_off(3)
        text = drawn(live)
        assert "trial 3 full: epoch" not in text
        assert "trial 3 full was interrupted" in text
        assert "no worker is running" in text
        live.final_started("full-0", 1000, 1, 15)
        live.final_started("full-0", 1001, 2, 15)
        live.final_cut_off("full-0", 1000)
        assert "final 2/15: full-0, seed 1001\n" in "".join(f"{line.rstrip()}\n" for line in drawn(live).splitlines())


def test_use_of_gpus_is_summed_and_that_of_a_machine_without_is_of_processors_and_memory() -> None:
    one = GpuUse(0.87, 12_300_000_000, 139_800_000_000)
    assert describe_gpus([one]) == "GPU 87 %, 12.3 of 139.8 GB"
    assert describe_gpus([one, replace(one, busy=0.13)]) == "2 GPUs 50 %, 24.6 of 279.6 GB"
    assert describe_gpus([replace(one, busy=None)]) == "GPU 12.3 of 139.8 GB"
    values = {"system/cpu_utilization_percentage": 45.4, "system/system_memory_usage_percentage": 60.6}
    assert describe_machine(values) == "CPU 45 %, memory 61 %"
    assert describe_machine({}) == ""


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_fits_whatever_is_shown(results: StudyResults, width: int) -> None:
    state = LiveState()
    state.study_started(results.settings, list(results.trials))
    for number in range(30, 40):
        state.trial_started(number, "feature_extraction of a plugin with a long name", 100_000)
        state.epoch_finished(number, epoch(99_998))
    picture = io.StringIO()
    Console(file=picture, width=width).print(Group(*draw(state, "NVIDIA H200 " * 9, "CPU 100 %, memory 100 % " * 9)))
    assert all(len(line) <= width for line in picture.getvalue().splitlines())
