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
from torch import Tensor

from frostline.objectives.config import TrialConfig, create_config, flatten
from frostline.objectives.epochs import EpochResult
from frostline.objectives.finetune import FinetuneResult, Task, finetune
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.phases import Phase
from frostline.objectives.strategies.catalog import (
    STRATEGIES,
    Strategy,
    finetuning_phase,
    head_phase,
    register_strategy,
    takes_parameter,
)
from frostline.objectives.training.checkpoint import Record, pack, part_of, unpack
from frostline.objectives.training.logistic_regression import solve_logistic_regression
from frostline.objectives.training.penalties import l2_sp
from frostline.objectives.training.stages import Stages
from frostline.storage.files.feature_files import FeatureFiles

from ..tiny import SPEC, split, task
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


@cache
def alone(case: str) -> FinetuneResult:
    """What the second trial of a case gives when nothing is shared."""
    return train(configure(CASES[case][1]), task())[0]


@pytest.mark.parametrize("case", CASES)
def test_a_trial_that_finds_its_stage_ends_as_if_it_had_trained_it(case: str, tmp_path: Path):
    first, second, phases = CASES[case]
    work, other = staged(tmp_path), staged(tmp_path, backbones=BackbonePool(SPEC))
    train(configure(first), work)
    assert work.stages.restored == 0
    result, told = train(configure(second), other)
    assert other.stages.restored == phases
    assert_same(result, alone(case))
    assert all(certificate.passed for certificate in result.certificates)
    assert tuple(told) == result.epochs


@pytest.mark.parametrize("case", ["lp_ft", "gradual_unfreezing", "head.init and lp_ft"])
def test_who_trains_a_stage_is_not_disturbed_by_keeping_it(case: str, tmp_path: Path):
    assert_same(train(configure(CASES[case][1]), staged(tmp_path))[0], alone(case))


@pytest.mark.parametrize("case", ["lp_ft", "gradual_unfreezing", "head.init and lp_ft"])
def test_a_trial_with_a_stage_survives_its_worker(case: str, tmp_path: Path):
    """A checkpoint goes on from a stage that was put back, though the stage is gone by then."""
    first, second, _ = CASES[case]
    train(configure(first), staged(tmp_path / "stages"))
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
    train(configure(first), staged(tmp_path))
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
    train(configure(first), staged(tmp_path))
    (file,) = tmp_path.glob("*.stage")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    work = staged(tmp_path)
    assert_same(train(configure(second), work)[0], alone("lp_ft"))
    assert work.stages.restored == 0
    work = staged(tmp_path)
    train(configure(second), work)
    assert work.stages.restored == 1


class InMemory(FeatureFiles):
    """Stages as the process that made them wrote them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "stage")
        self.written: dict[str, bytes] = {}
        self.replaced: dict[str, bytes] = {}

    def read(self, key: str) -> tuple[dict[str, Any], NDArray[np.uint8]] | None:
        if key in self.replaced:
            return {"seconds": 1.0}, np.frombuffer(self.replaced[key], np.uint8)
        return super().read(key)

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        self.written[key] = data.tobytes()
        return super().write(key, facts, data)


def _other_frozen_weights(record: Record) -> Record:
    (certificate,) = record.certificates
    return replace(record, certificates=(replace(certificate, before="0" * 64, after="0" * 64),))


@pytest.mark.parametrize("change", [_other_frozen_weights, lambda record: replace(record, identity="another")])
def test_a_stage_on_other_frozen_weights_or_of_another_training_is_not_taken(
    change: Callable[[Record], Record], tmp_path: Path
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
    files = InMemory(tmp_path)
    train(configure(GRADUAL), replace(task(), stages=Stages(files, BUDGET)))
    (content,) = files.written.values()
    tensors = load(content)
    assert {name.split("/")[0] for name in tensors} == {"network", "optimisation", "random"}
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
    train(configure(LP_FT), staged(tmp_path))
    (file,) = tmp_path.glob("*.stage")
    size = file.stat().st_size
    for rate in (1e-3, 2e-3, 3e-3, 4e-3):
        work = replace(task(), stages=Stages(FeatureFiles(tmp_path, "stage"), 30 * size))
        train(configure({**LP_FT, "probe_learning_rate": rate}), work)
        assert sum(kept.stat().st_size for kept in tmp_path.glob("*.stage")) <= 3 * size
    assert len(list(tmp_path.glob("*.stage"))) == 2


# --- Keys: what affects the numbers of a stage is in its key, and what does not is not. ---

# Another value for everything that can be configured.
OTHER: dict[str, Any] = {
    **{"freeze_depth": 9, "truncate": 2, "optimizer": "sgd", "momentum": 0.5, "nesterov": False},
    **{"learning_rate": 1e-2, "backbone_lr_ratio": 0.5, "weight_decay": 0.2, "schedule": "linear", "warmup": 0.5},
    **{"gradient_clip": 0.01, "ema_decay": 0.5, "label_smoothing": 0.2, "class_weights": "balanced"},
    **{"sampling": "balanced", "augmentation": "resized_crop", "randaugment_ops": 1, "randaugment_magnitude": 20},
    **{"views": 1, "mixing": "cutmix", "mixing_alpha": 0.9, "batch_size": 4, "epochs": 5, "probe_epochs": 1},
    **{"probe_learning_rate": 2e-2, "batch_norm": "eval", "patience": 1, "layer_decay": 0.5, "trained_units": 2},
    **{"unfreeze_every": 3, "l2_sp_alpha": 0.5, "l2_sp_beta": 0.5, "lora_rank": 2, "lora_alpha": 2.0},
    **{"head.pooling": "avgmax", "head.hidden_layers": 1, "head.width": 9, "head.activation": "tanh"},
    **{"head.normalization": "layer", "head.dropout": 0.4, "head.output": "cosine", "head.init": "xavier"},
}
_BACKBONE = {"freeze_depth", "backbone_lr_ratio", "batch_norm"}
_TRAINED = {
    *("optimizer", "momentum", "nesterov", "learning_rate", "weight_decay", "schedule", "warmup", "batch_size"),
    *("gradient_clip", "ema_decay", "label_smoothing", "class_weights", "sampling", "epochs", "patience"),
    *("mixing", "mixing_alpha", "views", "head.dropout"),
}
# Where a trial begins, and what of its configuration its stage shall not depend on.
STARTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "lp_ft": (LP_FT, {*_BACKBONE, "learning_rate", "epochs"}),
    "lp_ft, sgd": (
        {**LP_FT, "optimizer": "sgd", "augmentation": "randaugment", "mixing": "mixup", "head.hidden_layers": 1},
        {*_BACKBONE, "learning_rate", "epochs"},
    ),
    "gradual_unfreezing": (GRADUAL, {*_BACKBONE, "layer_decay"}),
    "full from a probe": (
        {"strategy": "full", **RANDOM, "augmentation": "randaugment", "head.init": "probe"},
        {*_TRAINED, *_BACKBONE},
    ),
}


def small() -> Task:
    return task(train=13, val=9)


class DoneError(Exception):
    """The stage is over; what follows it is not looked at here."""


class FirstStage(InMemory):
    """Ends a trial when its first stage is written."""

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        self.written[key] = data.tobytes()
        raise DoneError


def stage_of(values: Mapping[str, Any], work: Task, folder: Path, seed: int = 3) -> tuple[str, bytes]:
    """Key of the stage that a trial begins with, and all that it left but for the time it took."""
    files = FirstStage(folder)
    with pytest.raises(DoneError):
        finetune(configure(values), replace(work, stages=Stages(files, BUDGET)), seed=seed)
    ((key, content),) = files.written.items()
    found = unpack(content, key)
    assert found is not None
    record, tensors = found
    epochs = tuple(replace(result, seconds=0.0) for result in record.epochs)
    # In one order: safetensors writes a head's tensors in that of their names already.
    parts: dict[str, dict[str, Tensor]] = {}
    for name in sorted(tensors):
        part, _, own = name.partition("/")
        parts.setdefault(part, {})[own] = tensors[name]
    return key, pack(replace(record, identity="", seconds=0.0, epochs=epochs), parts)


def variations(start: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A start with one value changed, for every value that its strategy takes and that does not contradict it."""
    names = {name for name in OTHER if takes_parameter(STRATEGIES[start["strategy"]], name)}
    if start.get("head.init") == "probe":
        names -= {"head.hidden_layers", "head.output", "head.init"}  # refused, or no probe
    default, present = flatten(configure({"strategy": start["strategy"]})), flatten(configure(start))
    others = {name: default[name] if present[name] == OTHER[name] else OTHER[name] for name in names}
    return {name: {**start, name: value} for name, value in others.items()}


@pytest.mark.parametrize("start", STARTS)
def test_equal_keys_mean_stages_that_are_equal_to_the_last_bit(start: str, tmp_path: Path):
    """The property: whatever one value is changed to, a trial that has the same key has trained the same."""
    values, shared = STARTS[start]
    work = small()
    key, content = stage_of(values, work, tmp_path)
    changed = {name: stage_of(other, work, tmp_path) for name, other in variations(values).items()}
    assert {name for name, (other, _) in changed.items() if other == key} == shared & changed.keys()
    assert [name for name, (other, left) in changed.items() if other == key and left != content] == []


def test_the_property_sees_what_a_key_without_it_would_have_mixed_up(tmp_path: Path):
    """All that is in the key changes the numbers: the property test would find what is missing there."""
    values, shared = STARTS["lp_ft, sgd"]
    work = small()
    _, content = stage_of(values, work, tmp_path)
    changed = {name: stage_of(other, work, tmp_path)[1] for name, other in variations(values).items()}
    alike = {name for name, other in changed.items() if other == content}
    # Patience only acts where nothing gets better, which is another case above.
    assert alike - {"patience"} == shared


def test_strategies_share_the_solution_that_they_begin_with(tmp_path: Path):
    """And none of their own parameters is in its key."""
    strategies = [name for name, it in STRATEGIES.items() if it.pretrained and "head.init" not in it.refuses]
    stages = set()
    for name in strategies:
        own = {parameter: OTHER[parameter] for parameter in STRATEGIES[name].takes}
        start = {"strategy": name, **RANDOM, "head.init": "probe", **own}
        stages.add(stage_of(start, small(), tmp_path))
    assert len(strategies) == 10
    assert len(stages) == 1


def test_every_value_is_varied():
    assert OTHER.keys() == flatten(TrialConfig(strategy="")).keys() - {"strategy"}
    default = flatten(configure({"strategy": "lp_ft"}))
    assert [name for name, value in OTHER.items() if value == default[name]] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda work: replace(work, train=split(13, 9)),
        lambda work: replace(work, val=split(9, 9)),
        lambda work: replace(work, metric="balanced_accuracy"),
        lambda work: replace(work, backbones=BackbonePool(replace(SPEC, name="shufflenet_v2_x1_0"))),
        lambda work: replace(work, backbones=_other_weights()),
    ],
    ids=["train", "val", "metric", "backbone", "weights"],
)
def test_other_data_metric_or_weights_are_another_stage(change: Callable[[Task], Task], tmp_path: Path):
    work = small()
    keys = [stage_of(LP_FT, each, tmp_path)[0] for each in (work, change(work))]
    assert keys[0] != keys[1]


def _other_weights() -> BackbonePool:
    """One weight in the last unit is another."""
    backbones = BackbonePool(SPEC)
    name = next(name for name in reversed(backbones._pristine) if name.endswith("weight") and "fc" not in name)
    backbones._pristine[name].flatten()[0] += 1e-6
    return backbones


def test_another_seed_thread_count_or_version_is_another_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work = small()
    keys = [stage_of(LP_FT, work, tmp_path)[0], stage_of(LP_FT, work, tmp_path, seed=4)[0]]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        keys.append(stage_of(LP_FT, work, tmp_path)[0])
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(torch, "__version__", "0.0.0")
    keys.append(stage_of(LP_FT, work, tmp_path)[0])
    assert len(set(keys)) == 4


def test_a_stage_that_is_the_whole_trial_or_trains_a_unit_is_none(tmp_path: Path):
    for values in (
        {"strategy": "feature_extraction"},
        {"strategy": "full"},
        {"strategy": "gradual_unfreezing", "unfreeze_every": 4},
    ):
        train(configure(values), staged(tmp_path))
    train(create_config({"strategy": "linear_probe_exact"}), staged(tmp_path))
    assert list(tmp_path.glob("*.stage")) == []


def _planned(*leading: Phase) -> Callable[[TrialConfig, int], tuple[Phase, ...]]:
    """A plugin's plan: some phases of the head, then everything."""

    def plan(config: TrialConfig, units: int) -> tuple[Phase, ...]:
        first = tuple(replace(phase, freeze_depth=units) for phase in leading)
        return (*first, finetuning_phase(config, units, units - 1, 1))

    return plan


def _own_solver(*arguments: Any) -> list[EpochResult]:
    return solve_logistic_regression(*arguments)


_HEAD = head_phase("head", 0, 2, 5e-3)


@pytest.mark.parametrize(
    ("leading", "kept"),
    [
        ((_HEAD,), 1),
        ((replace(_HEAD, penalty=partial(l2_sp, alpha=0.0, beta=9.0)),), 0),
        ((replace(_HEAD, solve=_own_solver, epochs=1),), 0),
        # What follows a phase that cannot be shared cannot be either.
        ((replace(_HEAD, solve=_own_solver, epochs=1), replace(_HEAD, name="more")), 0),
        ((_HEAD, replace(_HEAD, name="more"), replace(_HEAD, name="still more", continues=True)), 3),
        ((_HEAD, replace(_HEAD, name="solved", epochs=1, solve=solve_logistic_regression)), 2),
    ],
    ids=["head", "penalty", "solver", "after a solver", "three in two chains", "trained, then solved"],
)
def test_plugins_stages_are_shared_where_all_they_do_is_known(leading: tuple[Phase, ...], kept: int, tmp_path: Path):
    register_strategy(Strategy("planned", "", _planned(*leading)))
    config = configure({"strategy": "planned", **RANDOM})
    own = train(config, task())[0]
    assert_same(train(config, staged(tmp_path))[0], own)
    work = staged(tmp_path)
    assert_same(train(config, work)[0], own)
    assert work.stages.restored == kept
    assert len(list(tmp_path.glob("*.stage"))) == kept


def test_the_same_phases_in_other_chains_are_other_stages(tmp_path: Path):
    """The schedule of a phase depends on how long its whole chain is."""
    more = replace(_HEAD, name="more", continues=True)
    plans = {"alone": (_HEAD,), "chain": (_HEAD, more), "longer": (_HEAD, replace(more, epochs=3))}
    for name, leading in plans.items():
        register_strategy(Strategy(name, "", _planned(*leading)))
    stages = {name: stage_of({"strategy": name}, small(), tmp_path) for name in plans}
    assert len({key for key, _ in stages.values()}) == 3
    assert len({content for _, content in stages.values()}) == 3


# --- Processes. ---

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
