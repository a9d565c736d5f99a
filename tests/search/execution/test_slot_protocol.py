"""What slots and supervisor say to each other: calls, records and work arrive as they were made."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from frostline.objectives.epochs import EpochResult
from frostline.search.execution.slot_protocol import ForwardingObserver, MessagePipe, SlotJob, tell
from frostline.search.records import TrialRecord
from frostline.search.slots.messages import (
    EpochFinished,
    FinalCutOff,
    FinalFinished,
    FinalStarted,
    JournalEntry,
    Note,
    TrialCutOff,
    TrialFinished,
    TrialStarted,
    decode,
)
from frostline.search.study.observer import Observer
from frostline.storage.timing import Timing


def test_calls_and_records_arrive_as_they_were_made() -> None:
    written = io.StringIO()
    line = MessagePipe(written)
    observer = ForwardingObserver(line)
    epoch = EpochResult(3, "head", 0.5, float("inf"), 0.25, {"head": 1e-3}, 0.125)
    trial = TrialRecord(7, "complete", "full", {"epochs": 3}, 0.5, {0: 0.25, 1: 0.5}, 1.5, 9, 0, None, datetime.now())
    observer.note("a note\nof two lines")
    observer.trial_started(7, "full", 3)
    observer.epoch_finished(7, epoch)
    observer.trial_finished(trial)
    observer.trial_finished(replace(trial, finished=None))
    observer.final_started("full-0", 1000, 1, 2)
    observer.trial_cut_off(8)
    observer.final_cut_off("full-0", 1000)
    line.append("start", "trial-7", name="x", params={})
    line.append("start", "trial-8", name="y", params={})
    line.append("finish", "trial-7", status="FINISHED")
    messages = [decode(each) for each in written.getvalue().splitlines()]
    calls = [message for message in messages if not isinstance(message, JournalEntry)]
    assert calls == [
        Note("a note\nof two lines"),
        TrialStarted(7, "full", 3),
        EpochFinished(7, epoch),
        TrialFinished(trial),
        TrialFinished(replace(trial, finished=None)),
        FinalStarted("full-0", 1000, 1, 2),
        TrialCutOff(8),
        FinalCutOff("full-0", 1000),
    ]
    assert messages[-1] == JournalEntry("finish", "trial-7", {"status": "FINISHED"})
    assert line.open_keys() == ["trial-8"]


def test_an_observer_hears_what_was_forwarded() -> None:
    class Heard(Observer):
        def __init__(self) -> None:
            self.calls: list[tuple[Any, ...]] = []

        def note(self, message: str) -> None:
            self.calls.append(("note", message))

        def trial_started(self, number: int, strategy: str, epochs: int) -> None:
            self.calls.append(("trial_started", number, strategy, epochs))

        def epoch_finished(self, number: int, result: EpochResult) -> None:
            self.calls.append(("epoch_finished", number, result))

        def trial_finished(self, trial: TrialRecord) -> None:
            self.calls.append(("trial_finished", trial))

        def trial_cut_off(self, number: int) -> None:
            self.calls.append(("trial_cut_off", number))

        def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
            self.calls.append(("final_started", finalist, seed, place, total))

        def final_cut_off(self, finalist: str, seed: int) -> None:
            self.calls.append(("final_cut_off", finalist, seed))

    calls = [
        ("note", "a note"),
        ("trial_started", 7, "full", 3),
        ("epoch_finished", 7, EpochResult(3, "head", 0.5, float("inf"), 0.25, {"head": 1e-3}, 0.125)),
        ("trial_finished", TrialRecord(7, "pruned", "full")),
        ("trial_cut_off", 8),
        ("final_started", "full-0", 1000, 1, 2),
        ("final_cut_off", "full-0", 1001),
    ]
    written, heard = io.StringIO(), Heard()
    forwarding = ForwardingObserver(MessagePipe(written))
    for name, *arguments in calls:
        getattr(forwarding, name)(*arguments)
    for line in written.getvalue().splitlines():
        tell(heard, decode(line))
    assert heard.calls == calls


@pytest.mark.parametrize(
    "line",
    [
        '["close", {}]',
        '["TrialCutOff", {}]',
        '["TrialCutOff", {"number": 7, "why": "x"}]',
        '["TrialCutOff", {"number": "seven"}]',
        '["TrialFinished", {"trial": {"number": 7, "state": "complete", "color": "red"}}]',
        "a line that a library printed",
    ],
)
def test_what_is_no_message_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"unknown message|validation error|Expecting value"):
        decode(line)


def test_a_message_for_the_supervisor_is_no_call_of_an_observer() -> None:
    with pytest.raises(ValueError, match="FinalFinished"):
        tell(Observer(), FinalFinished("full", 7, 1000))


@pytest.mark.parametrize("cache_bytes", [None, 0, 10**9])
def test_work_arrives_as_it_was_given(cache_bytes: int | None) -> None:
    work = SlotJob("tiny", "/workspace", None, "s3://bucket", None, "cuda", cache_bytes, 2, 1, True, Timing(lease=2.0))
    assert SlotJob.decode(work.encode()) == work
    assert "\n" not in work.encode()
