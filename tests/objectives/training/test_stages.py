"""Stages: a head's leading phases, run once for all trials that share them, with the numbers that each had alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.epochs import EpochResult
from frostline.objectives.finetune import FinetuneResult, Task, finetune
from frostline.objectives.phases import Phase
from frostline.objectives.precision import BFLOAT16, Precision
from frostline.objectives.strategies import (
    Strategy,
    finetuning_phase,
    head_phase,
    register_strategy,
)
from frostline.objectives.training.checkpoint import CheckpointRecord, pack, part_of, unpack
from frostline.objectives.training.penalties import l2_sp
from frostline.objectives.training.solved_heads import solve_logistic_regression
from frostline.objectives.training.stages import Stages
from frostline.storage.files.feature_files import FeatureFiles

from ..tiny import fresh_pool, own_task, task
from .test_checkpoint import CutOffError, Kept, assert_same

BUDGET = 10**9
BASE: dict[str, Any] = {"epochs": 4, "batch_size": 8, "learning_rate": 5e-3, "patience": 99, "weight_decay": 0.1}
RANDOM = {"augmentation": "flip_crop", "views": 2, "head.dropout": 0.3}
LP_FT = {"strategy": "lp_ft", "probe_epochs": 2, "probe_learning_rate": 1e-2, **RANDOM}
GRADUAL = {"strategy": "gradual_unfreezing", "unfreeze_every": 2, **RANDOM}
# Two trials that begin alike, how many of the second's phases the first one has, and how many epochs these have.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "lp_ft": (
        LP_FT,
        {**LP_FT, "freeze_depth": 9, "backbone_lr_ratio": 0.7, "batch_norm": "eval", "learning_rate": 2e-3},
        1,
    ),
    "lp_ft, averaged": (
        {**LP_FT, "ema_decay": 0.9, "optimizer": "sgd", "head.normalization": "batch", "mixing": "mixup"},
        {
            **{**LP_FT, "ema_decay": 0.9, "optimizer": "sgd", "head.normalization": "batch", "mixing": "mixup"},
            **{"freeze_depth": 6, "epochs": 5},
        },
        1,
    ),
    "lp_ft, early end": (
        {**LP_FT, "epochs": 8, "probe_epochs": 6, "patience": 1, "probe_learning_rate": 1e-9},
        {**LP_FT, "epochs": 9, "probe_epochs": 6, "patience": 1, "probe_learning_rate": 1e-9, "freeze_depth": 3},
        1,
    ),
    "gradual_unfreezing": (
        {**GRADUAL, "ema_decay": 0.9, "optimizer": "adam"},
        {**GRADUAL, "ema_decay": 0.9, "optimizer": "adam", "layer_decay": 0.5, "freeze_depth": 15},
        1,
    ),
    "gradual_unfreezing, sgd": (
        {**GRADUAL, "optimizer": "sgd", "schedule": "one_cycle"},
        {**GRADUAL, "optimizer": "sgd", "schedule": "one_cycle", "backbone_lr_ratio": 0.9, "batch_norm": "eval"},
        1,
    ),
    "gradual_unfreezing, early end": (
        {**GRADUAL, "unfreeze_every": 0, "patience": 1, "learning_rate": 1e-9, "epochs": 6},
        {
            **{**GRADUAL, "unfreeze_every": 0, "patience": 1, "learning_rate": 1e-9, "epochs": 6},
            **{"layer_decay": 0.5, "freeze_depth": 17},
        },
        1,
    ),
    "head.init": (
        {"strategy": "full", "head.init": "probe", **RANDOM},
        {
            **{"strategy": "partial", "freeze_depth": 8, "head.init": "probe", "optimizer": "sgd", "batch_size": 5},
            **{**RANDOM, "head.dropout": 0.1, "learning_rate": 1e-5, "mixing": "cutmix"},
        },
        1,
    ),
    "head.init and lp_ft": (
        {**LP_FT, "head.init": "probe"},
        {**LP_FT, "head.init": "probe", "freeze_depth": 9},
        2,
    ),
}


class DoneError(Exception):
    """The stages are kept; what follows them is not looked at."""


class InMemory(FeatureFiles):
    """Stages as the process that made them wrote them.

    Args:
        folder: Of the files.
        room: For so many stages; the last one ends the trial.
    """

    def __init__(self, folder: Path, room: int | None = None) -> None:
        super().__init__(folder, "stage")
        self.written: dict[str, bytes] = {}
        self.replaced: dict[str, bytes] = {}
        self._room = room

    def read(self, key: str) -> tuple[dict[str, Any], NDArray[np.uint8]] | None:
        if key in self.replaced:
            return {"seconds": 1.0}, np.frombuffer(self.replaced[key], np.uint8)
        return super().read(key)

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        self.written[key] = data.tobytes()
        kept = super().write(key, facts, data)
        if len(self.written) == self._room:
            raise DoneError
        return kept


def configure(values: Mapping[str, Any]) -> TrialConfig:
    return create_config({**BASE, **values})


def staged(folder: Path, **changes: Any) -> Task:
    return replace(task(), stages=Stages(FeatureFiles(folder, "stage"), BUDGET), **changes)


def train(config: TrialConfig, work: Task, kept: Kept | None = None) -> tuple[FinetuneResult, list[EpochResult]]:
    """The result, and what was told on the way."""
    told: list[EpochResult] = []
    torch.manual_seed(12345)  # every process comes with other random states
    result = finetune(config, work, seed=3, on_epoch=told.append, checkpoints=kept or Kept())
    return result, told


def leave_stages(values: Mapping[str, Any], folder: Path, count: int = 1) -> None:
    """Train a trial until its stages are kept, and no longer."""
    with pytest.raises(DoneError):
        train(configure(values), replace(task(), stages=Stages(InMemory(folder, count), BUDGET)))


@cache
def alone(case: str) -> FinetuneResult:
    """What the second trial of a case gives when nothing is shared."""
    return train(configure(CASES[case][1]), own_task())[0]


@pytest.mark.parametrize("case", CASES)
def test_a_trial_that_finds_its_stage_ends_as_if_it_had_trained_it(case: str, tmp_path: Path):
    first, second, phases = CASES[case]
    other = staged(tmp_path, backbones=fresh_pool())
    leave_stages(first, tmp_path, phases)
    result, told = train(configure(second), other)
    assert other.stages.restored == phases
    assert_same(result, alone(case))
    assert all(certificate.passed for certificate in result.certificates)
    assert tuple(told) == result.epochs


@pytest.mark.parametrize("case", ["lp_ft", pytest.param("head.init", marks=pytest.mark.slow)])
def test_a_stage_is_shared_in_one_precision(case: str, tmp_path: Path):
    first, second, phases = CASES[case]
    half = replace(staged(tmp_path), precision=Precision(BFLOAT16))
    train(configure(first), half)
    shared = train(configure(second), half)[0]
    assert half.stages.restored == phases
    assert_same(shared, train(configure(second), replace(own_task(), precision=Precision(BFLOAT16)))[0])
    exact = staged(tmp_path)
    assert_same(train(configure(second), exact)[0], alone(case))
    assert exact.stages.restored == 0


@pytest.mark.parametrize("case", ["lp_ft", "gradual_unfreezing", "head.init and lp_ft"])
def test_who_trains_a_stage_is_not_disturbed_by_keeping_it(case: str, tmp_path: Path):
    assert_same(train(configure(CASES[case][1]), staged(tmp_path))[0], alone(case))


@pytest.mark.parametrize("case", ["lp_ft", "gradual_unfreezing", "head.init and lp_ft"])
def test_a_trial_with_a_stage_survives_its_worker(case: str, tmp_path: Path):
    """A checkpoint goes on from a stage that was put back, though the stage is gone by then."""
    first, second, phases = CASES[case]
    leave_stages(first, tmp_path / "stages", phases)
    kept = Kept()
    result, told = train(configure(second), staged(tmp_path / "stages"), kept)
    assert_same(result, alone(case))
    # Epochs that are put back need no checkpoint: the stage is one.
    assert len(kept.states) < len(told)
    for place, state in enumerate(kept.states):
        resumed, told_again = train(configure(second), task(), Kept([state]))
        assert_same(resumed, alone(case))
        assert len(told_again) == len(kept.states) - place - 1


def test_who_was_cut_off_in_a_stage_that_another_finished_is_told_what_it_did_not_know(tmp_path: Path):
    first, second, _ = CASES["lp_ft"]
    kept = Kept(room=1)
    with pytest.raises(CutOffError):
        train(configure(second), staged(tmp_path), kept)
    assert list(tmp_path.glob("*.stage")) == []
    leave_stages(first, tmp_path)
    work = staged(tmp_path)
    resumed, told = train(configure(second), work, Kept(kept.states))
    assert work.stages.restored == 1
    assert [result.epoch for result in told] == [1, 2, 3]
    assert_same(resumed, alone("lp_ft"))


def test_what_is_put_back_can_be_pruned_and_costs_what_it_costs_now(tmp_path: Path):
    first, second, _ = CASES["lp_ft"]
    trained, _ = train(configure(first), staged(tmp_path))
    told: list[EpochResult] = []

    def prune(result: EpochResult) -> None:
        told.append(result)
        if result.epoch == 1:
            raise CutOffError

    work, kept = staged(tmp_path), Kept()
    with pytest.raises(CutOffError):
        finetune(configure(second), work, seed=3, on_epoch=prune, checkpoints=kept)
    assert work.stages.restored == 1
    assert kept.states == []
    assert [replace(result, seconds=0.0) for result in told] == [
        replace(result, seconds=0.0) for result in trained.epochs[:2]
    ]
    assert sum(result.seconds for result in told) < sum(result.seconds for result in trained.epochs[:2])
    assert_same(train(configure(second), work)[0], alone("lp_ft"))


def test_a_stage_that_was_pruned_is_not_kept(tmp_path: Path):
    def prune(result: EpochResult) -> None:
        if result.epoch == 1:
            raise CutOffError

    with pytest.raises(CutOffError):
        finetune(configure(LP_FT), staged(tmp_path), seed=3, on_epoch=prune)
    assert list(tmp_path.glob("*.stage")) == []


def _damaged(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "changed": _damaged,
    "torn": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_trained_again(damage: str, tmp_path: Path):
    first, second, _ = CASES["lp_ft"]
    leave_stages(first, tmp_path)
    (file,) = tmp_path.glob("*.stage")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    work = staged(tmp_path)
    assert_same(train(configure(second), work)[0], alone("lp_ft"))
    assert work.stages.restored == 0
    work = staged(tmp_path)
    train(configure(second), work)
    assert work.stages.restored == 1


def _other_frozen_weights(record: CheckpointRecord) -> CheckpointRecord:
    (certificate,) = record.certificates
    return replace(record, certificates=(replace(certificate, before="0" * 64, after="0" * 64),))


@pytest.mark.parametrize("change", [_other_frozen_weights, lambda record: replace(record, identity="another")])
def test_a_stage_on_other_frozen_weights_or_of_another_training_is_not_taken(
    change: Callable[[CheckpointRecord], CheckpointRecord], tmp_path: Path
):
    files = InMemory(tmp_path)
    work = replace(task(), stages=Stages(files, BUDGET))
    train(configure(LP_FT), work)
    ((key, content),) = files.written.items()
    found = unpack(content, key)
    assert found is not None
    record, tensors = found
    names = {name.split("/")[0] for name in tensors}
    files.replaced[key] = pack(change(record), {name: part_of(tensors, name) for name in names})
    result, _ = train(configure(CASES["lp_ft"][1]), work)
    assert work.stages.restored == 0
    assert_same(result, alone("lp_ft"))
    files.replaced.clear()
    train(configure(LP_FT), work)
    assert work.stages.restored == 1


def test_a_stage_is_no_pickle_and_holds_a_head(tmp_path: Path):
    files = InMemory(tmp_path, room=1)
    with pytest.raises(DoneError):
        train(configure(GRADUAL), replace(task(), stages=Stages(files, BUDGET)))
    (content,) = files.written.values()
    tensors = load(content)
    assert {name.split("/")[0] for name in tensors} == {"network", "optimization", "random"}
    assert all(name.startswith("network/head.") for name in tensors if name.startswith("network/"))
    assert len(content) < 100_000


@pytest.mark.parametrize("budget", [0, 9])
def test_where_nothing_is_kept_no_stage_is(budget: int, tmp_path: Path):
    stages = Stages(FeatureFiles(tmp_path, "stage"), budget)
    assert not stages.enabled
    for _ in range(2):
        assert_same(train(configure(CASES["lp_ft"][1]), replace(task(), stages=stages))[0], alone("lp_ft"))
    assert stages.restored == 0
    assert list(tmp_path.glob("*.stage")) == []


def test_stages_stay_within_a_tenth_of_what_features_may_take(tmp_path: Path):
    leave_stages(LP_FT, tmp_path)
    (file,) = tmp_path.glob("*.stage")
    size = file.stat().st_size
    for rate in (1e-3, 2e-3, 3e-3, 4e-3):
        work = replace(task(), stages=Stages(FeatureFiles(tmp_path, "stage"), 30 * size))
        train(configure({**LP_FT, "probe_learning_rate": rate}), work)
        assert sum(kept.stat().st_size for kept in tmp_path.glob("*.stage")) <= 3 * size
    assert len(list(tmp_path.glob("*.stage"))) == 2


def test_a_stage_that_is_the_whole_trial_or_trains_a_unit_is_none(tmp_path: Path):
    for values in (
        {"strategy": "feature_extraction"},
        {"strategy": "full"},
        {"strategy": "gradual_unfreezing", "unfreeze_every": 1},
    ):
        train(configure({**values, "epochs": 1}), staged(tmp_path))
    train(create_config({"strategy": "linear_probe_exact"}), staged(tmp_path))
    assert list(tmp_path.glob("*.stage")) == []


def planned(*leading: Phase) -> Callable[[TrialConfig, int], tuple[Phase, ...]]:
    """A plugin's plan: some phases of the head, then everything."""

    def plan(config: TrialConfig, units: int) -> tuple[Phase, ...]:
        first = tuple(replace(phase, freeze_depth=units) for phase in leading)
        return (*first, finetuning_phase(config, units, units - 1, 1))

    return plan


def _own_solver(*arguments: Any) -> list[EpochResult]:
    return solve_logistic_regression(*arguments)


HEAD = head_phase("head", 0, 2, 5e-3)


@pytest.mark.parametrize(
    ("leading", "kept"),
    [
        ((HEAD,), 1),
        ((replace(HEAD, penalty=partial(l2_sp, alpha=0.0, beta=9.0)),), 0),
        ((replace(HEAD, solve=_own_solver, epochs=1),), 0),
        # What follows a phase that cannot be shared cannot be either.
        ((replace(HEAD, solve=_own_solver, epochs=1), replace(HEAD, name="more")), 0),
        ((HEAD, replace(HEAD, name="more"), replace(HEAD, name="still more", continues=True)), 3),
        ((HEAD, replace(HEAD, name="solved", epochs=1, solve=solve_logistic_regression)), 2),
    ],
    ids=["head", "penalty", "solver", "after a solver", "three in two chains", "trained, then solved"],
)
def test_plugins_stages_are_shared_where_all_they_do_is_known(leading: tuple[Phase, ...], kept: int, tmp_path: Path):
    register_strategy(Strategy("planned", "", planned(*leading)))
    config = configure({"strategy": "planned", **RANDOM})
    own = train(config, own_task())[0]
    assert_same(train(config, staged(tmp_path))[0], own)
    work = staged(tmp_path)
    assert_same(train(config, work)[0], own)
    assert work.stages.restored == kept
    assert len(list(tmp_path.glob("*.stage"))) == kept


_WORKER = f"""
import sys, time
from dataclasses import replace
from pathlib import Path
from {__name__} import LP_FT, configure, staged
from frostline.objectives.finetune import finetune
folder, depth = Path(sys.argv[1]), int(sys.argv[2])
work = staged(folder)
def tell(result):
    print("epoch", flush=True)
    if depth < 0: sys.stdin.read()
print("ready", flush=True); sys.stdin.readline()
config = configure({{**LP_FT, "freeze_depth": abs(depth)}})
result = finetune(config, work, seed=3, on_epoch=tell)
print(work.stages.restored, [(e.train_loss, e.val_loss) for e in result.epochs[:2]], flush=True)
"""


def start(folder: Path, depth: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    command = [sys.executable, "-c", _WORKER, str(folder), str(depth)]
    pipe = subprocess.PIPE
    worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def tell(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


@pytest.mark.slow
def test_workers_train_a_stage_once_and_one_that_is_killed_in_it_stops_nobody(tmp_path: Path):
    first, second = start(tmp_path, -5), start(tmp_path, 8)
    tell(first)
    assert first.stdout is not None
    # It holds the stage and will not let go of it.
    assert first.stdout.readline() == "epoch\n"
    tell(second)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    work = staged(tmp_path)
    result, told = train(configure({**LP_FT, "freeze_depth": 9}), work)
    restored, losses = second.communicate(timeout=120)[0].splitlines()[-1].split(" ", 1)
    assert second.returncode == 0
    assert {int(restored), work.stages.restored} == {0, 1}
    assert losses == str([(epoch.train_loss, epoch.val_loss) for epoch in result.epochs[:2]])
    assert tuple(told) == result.epochs
    assert len(list(tmp_path.glob("*.stage"))) == 1
