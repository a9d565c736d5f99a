"""A bug of ours fails a few trials, and then the search; errors of others fail their trials only."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.training import loop
from frostline.search.execution import resume, run_search
from frostline.search.execution.held_study import hold_study
from frostline.search.execution.internal_errors import InternalErrors, internal_reason
from frostline.search.execution.retries import reason
from frostline.search.execution.slot_protocol import SlotJob
from frostline.search.execution.supervisor import SlotSupervisor
from frostline.search.records import TrialRecord
from frostline.search.slots import Resources, RunningSlot, SlotSpec, TrialFinished, encode
from frostline.search.stopping import Stopper
from frostline.search.study import Request
from frostline.search.study.observer import Observer
from frostline.search.study.prepare import prepare_search
from frostline.search.study.study import Study
from frostline.storage.timing import Timing
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

SPACE = """
[shared]
epochs = 1
[partial]
freeze_depth = -1
"""


def raised(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


def wrong_argument() -> Exception:
    """A TypeError of a line of ours, which is given what no caller of ours gives."""
    nothing: Any = None
    return raised(lambda: loop.require_finite(nothing, 0.0, 0))


def test_only_bugs_in_our_own_code_are_internal() -> None:
    said = reason(wrong_argument())
    assert said.startswith("internal error at frostline.objectives.training.loop, line ")
    assert ": TypeError: " in said
    # Errors of the user's code, of a library, and of what no program can help.
    nothing: Any = None
    assert internal_reason(raised(lambda: nothing.forward)) is None
    assert internal_reason(raised(lambda: torch.nn.Linear(2, 2)(nothing))) is None
    assert internal_reason(raised(lambda: Path("/no/such/file").read_text())) is None
    assert internal_reason(TypeError("never raised")) is None
    assert internal_reason(torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")) is None


def test_only_the_same_bug_ends_a_search() -> None:
    internal, said = InternalErrors(), reason(wrong_argument())
    place, what = said.split(": ", 1)
    elsewhere = f"{place}0: {what}"
    for number, why in enumerate([said, elsewhere, "ValueError: always", None, elsewhere, "ValueError: always", said]):
        internal.note(TrialRecord(number, "failed", reason=why))
        internal.check()
    for number in range(20):
        internal.note(TrialRecord(number, "failed", reason="ValueError: always"))
    internal.check()
    internal.note(TrialRecord(7, "failed", reason=f"{place}: another value"))
    with pytest.raises(TrainingFailedError, match=r"^Trials 0, 6, 7 failed by the same internal error at"):
        internal.check()


def request(folder: Path) -> Request:
    space = folder / "space.toml"
    space.write_text(SPACE)
    return Request(
        data=few_digits(),
        backbone="shufflenet_v2_x0_5",
        weights="none",
        image_size=32,
        name="tiny",
        trials=5,
        finals_seeds=1,
        candidates=1,
        device="cpu",
        space=space,
    )


def test_a_bug_of_ours_does_not_spend_the_budget(
    tmp_path: Path, tracking_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(tracking_database, tmp_path)
    wanted = request(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(loop, "create_criterion", lambda *arguments: None)
        with pytest.raises(TrainingFailedError, match=r"Trials 0, 1, 2 failed .* not callable\. The search stops"):
            run_search(wanted, Workspace(tmp_path))
    study = Study.load("tiny", Workspace(tmp_path))
    assert [trial.state for trial in study.trials()] == ["failed"] * 3
    study.close()
    study = resume("tiny", Workspace(tmp_path), resources=Resources("cpu"))
    states = [trial.state for trial in study.trials()]
    assert states[:3] == ["failed"] * 3
    assert set(states[3:]) <= {"complete", "pruned"}
    assert len(states) == 5
    study.close()


class ScriptedSlot:
    """A slot that reports failed trials by number, some of them when it is told to end."""

    pid = 1

    def __init__(self, say: Callable[[str | None], None], failed: Sequence[int], at_the_end: Sequence[int]) -> None:
        self._say, self._at_the_end, self._ended = say, at_the_end, False
        self._report(failed)

    def _report(self, failed: Sequence[int]) -> None:
        for number in failed:
            self._say(encode(TrialFinished(TrialRecord(number, "failed", reason=reason(wrong_argument())))))

    def signal(self, number: int) -> None:
        if not self._ended:
            self._ended = True
            self._report(self._at_the_end)
            self._say(None)

    def begins(self) -> None: ...

    def reap(self) -> tuple[int, float]:
        return 0, 60.0

    def reason(self, status: int) -> str:
        return ""

    def killed_by_another(self, status: int) -> bool:
        return False


def test_the_same_bug_in_several_slots_stops_them_all(tmp_path: Path, tracking_database: Path) -> None:
    shutil.copy(tracking_database, tmp_path)
    heard: list[int] = []

    class Ends(Observer):
        def trial_finished(self, trial: TrialRecord) -> None:
            heard.append(trial.number)

    study = prepare_search(request(tmp_path), Workspace(tmp_path), Observer()).study
    scripts = iter([((0, 2), (3,)), ((1,), (4,))])

    def start(place: SlotSpec, work: str, log: Path, say: Callable[[str | None], None]) -> RunningSlot:
        return ScriptedSlot(say, *next(scripts))

    work = SlotJob("tiny", str(tmp_path), None, None, None, "cpu", None, 0, 0, search=True, timing=Timing())
    with hold_study(study, Observer()) as tracker:
        supervisor = SlotSupervisor(study, work, tracker, Ends(), start)
        with pytest.raises(TrainingFailedError, match="failed by the same internal error"):
            supervisor.run([SlotSpec("cpu", {}, 1)] * 2, Stopper(grace=None))
    # Those that were told to end still say what became of their trials.
    assert sorted(heard) == [0, 1, 2, 3, 4]
    study.close()
