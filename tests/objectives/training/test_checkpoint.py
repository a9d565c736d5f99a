"""A training that was cut off after any epoch goes on elsewhere to the numbers that it would have had (contract C4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.epochs import EpochResult
from frostline.objectives.finetune import FinetuneResult, Task, finetune
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.networks.lora import add_lora
from frostline.objectives.phases import Phase
from frostline.objectives.precision import BFLOAT16, FLOAT32, Precision
from frostline.objectives.strategies import (
    STRATEGIES,
    Strategy,
    finetuning_phase,
    head_phase,
    register_strategy,
)
from frostline.objectives.training.certificate import Certificate

from ..tiny import SPEC, own_task, split, task

HALF = Precision.both(BFLOAT16)
BASE: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 5e-3, "patience": 99, "weight_decay": 0.1}
AUGMENTED = {"augmentation": "flip_crop", "head.dropout": 0.3}
AVERAGED = {"ema_decay": 0.9, "schedule": "one_cycle"}
CASES: dict[str, dict[str, Any]] = {
    "feature_extraction": {
        **{"head.hidden_layers": 1, "head.width": 8, "head.normalization": "batch", "head.pooling": "gem"},
        **{**AUGMENTED, **AVERAGED, "sampling": "balanced", "views": 2},
    },
    "partial": {"freeze_depth": 9, "optimizer": "sgd", "warmup": 0.2, "class_weights": "balanced", **AUGMENTED},
    "full": {**AUGMENTED, **AVERAGED, "gradient_clip": 0.5, "truncate": 3},
    "lp_ft": {"freeze_depth": 5, "epochs": 4, "probe_epochs": 2, "mixing": "mixup", **AUGMENTED, **AVERAGED},
    "scratch": {"optimizer": "rmsprop", "augmentation": "trivial", "head.dropout": 0.3},
    "gradual_unfreezing": {"epochs": 4, "layer_decay": 0.5, "optimizer": "sgd", **AUGMENTED, **AVERAGED},
    "plateaus": {"strategy": "gradual_unfreezing", "unfreeze_every": 0, "patience": 1, "epochs": 6, **AUGMENTED},
    "discriminative": {"layer_decay": 0.7, "optimizer": "adam", **AUGMENTED},
    "surgical": {"freeze_depth": 4, "trained_units": 3, **AUGMENTED, **AVERAGED},
    "auto_rgn": {**AUGMENTED, **AVERAGED, "optimizer": "sgd", "mixing": "mixup"},
    "norm_bias": {**AUGMENTED, "optimizer": "sgd"},
    "lora": {"lora_rank": 2, **AUGMENTED, **AVERAGED},
    "l2_sp": {"l2_sp_alpha": 50.0, "l2_sp_beta": 1.0, "freeze_depth": 3, **AUGMENTED},
    "linear_probe_exact": {},
    "after the probe": {"strategy": "full", "head.init": "probe", **AUGMENTED},
    "ends early": {"strategy": "feature_extraction", "patience": 1, "learning_rate": 1e-9, "epochs": 9},
    # Plans as plugins may have: a unit trained first and frozen then; adapters in the first phase only.
    "refreezes": {"strategy": "refreezes", "epochs": 4, **AUGMENTED},
    "lora_then_full": {"strategy": "lora_then_full", "epochs": 4, **AUGMENTED},
}


def _refreezes(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    depths = (units - 4, units - 1, units)
    lengths = (1, 2, config.epochs - 3)
    phases = [
        finetuning_phase(config, units, depth, epochs) for depth, epochs in zip(depths[:2], lengths, strict=False)
    ]
    return (
        replace(phases[0], name="some"),
        replace(phases[1], name="one"),
        head_phase("head", units, lengths[2], config.learning_rate),
    )


def _lora_then_full(config: TrialConfig, units: int) -> tuple[Phase, ...]:
    phase = finetuning_phase(config, units, units - 3, 2)
    adapted = replace(phase, name="lora", adapt=partial(add_lora, rank=2, alpha=2.0), batch_norm="eval")
    return (adapted, replace(phase, name="full"))


@pytest.fixture(autouse=True)
def plugins(registered: None) -> None:
    for name, plan in {"refreezes": _refreezes, "lora_then_full": _lora_then_full}.items():
        register_strategy(Strategy(name, "", plan))


class CutOffError(Exception):
    """The process is gone."""


class Kept:
    """Checkpoints in memory: every state, the last of which is found.

    Args:
        states: From before.
        room: For so many new ones; after the last, the process is gone.
    """

    def __init__(self, states: list[bytes] | None = None, room: int | None = None) -> None:
        self.states = states or []
        self._room = room

    def save(self, state: Callable[[], bytes]) -> None:
        self.states.append(state())
        if self._room is not None:
            self._room -= 1
            if self._room == 0:
                raise CutOffError

    def load(self) -> bytes | None:
        return self.states[-1] if self.states else None


def configuration(case: str) -> TrialConfig:
    values = {"strategy": case, **CASES[case]}
    return create_config(values if case == "linear_probe_exact" else {**BASE, **values})


def go_on(config: TrialConfig, work: Task, kept: Kept) -> tuple[FinetuneResult, list[int]]:
    """The result, and which epochs were trained for it."""
    trained: list[int] = []
    # Another process comes with other random states.
    torch.manual_seed(12345)
    result = finetune(config, work, seed=3, on_epoch=lambda epoch: trained.append(epoch.epoch), checkpoints=kept)
    return result, trained


def timeless(epochs: tuple[EpochResult, ...]) -> list[EpochResult]:
    return [replace(epoch, seconds=0.0) for epoch in epochs]


def assert_same(first: FinetuneResult, second: FinetuneResult) -> None:
    """To the last bit: losses, scores, rates, weights, metrics and what the certificates say."""
    assert timeless(first.epochs) == timeless(second.epochs)
    own, other = first.network.state_dict(), second.network.state_dict()
    assert own.keys() == other.keys()
    assert [name for name in own if not torch.equal(own[name], other[name])] == []
    assert first.certificates == second.certificates
    assert (first.score, first.best_epoch, first.val_metrics) == (second.score, second.best_epoch, second.val_metrics)
    assert first.trainable_parameters == second.trainable_parameters


def test_there_is_a_case_for_every_strategy():
    assert set(STRATEGIES) <= set(CASES)


# What the others do at a cut-off, these do.
QUICK = {"feature_extraction", "partial", "lp_ft", "gradual_unfreezing", "lora", "linear_probe_exact", "ends early"}
QUICK |= {"auto_rgn", "lora_then_full"}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in CASES]
)
def test_whatever_epoch_it_was_cut_off_after_it_ends_as_if_it_had_not(case: str):
    config, kept = configuration(case), Kept()
    undisturbed, trained = go_on(config, own_task(), Kept())
    watched, _ = go_on(config, task(), kept)
    assert_same(undisturbed, watched)
    assert len(kept.states) == len(trained) == len(undisturbed.epochs)
    elsewhere = own_task()
    for place, state in enumerate(kept.states):
        resumed, trained = go_on(config, elsewhere, Kept([state]))
        assert trained == list(range(place + 1, len(undisturbed.epochs)))
        assert_same(undisturbed, resumed)
        assert all(certificate.passed for certificate in resumed.certificates)


@pytest.mark.parametrize("precision", [HALF, Precision(BFLOAT16, FLOAT32)], ids=str)
@pytest.mark.parametrize(
    "case", ["lp_ft", *(pytest.param(case, marks=pytest.mark.slow) for case in ("full", "norm_bias"))]
)
def test_so_it_does_in_every_precision(case: str, precision: Precision):
    config, kept = configuration(case), Kept()
    undisturbed, _ = go_on(config, replace(task(), precision=precision), kept)
    elsewhere = replace(own_task(), precision=precision)
    for state in kept.states[:-1]:
        assert_same(undisturbed, go_on(config, elsewhere, Kept([state]))[0])


@pytest.mark.parametrize("case", ["lp_ft", "gradual_unfreezing", "refreezes"])
def test_it_may_be_cut_off_after_every_single_epoch(case: str):
    config, kept = configuration(case), Kept(room=1)
    undisturbed, _ = go_on(config, own_task(), Kept())
    for _ in undisturbed.epochs:
        with pytest.raises(CutOffError):
            go_on(config, task(), kept)
        kept = Kept(kept.states, room=1)
    resumed, trained = go_on(config, task(), kept)
    assert trained == []
    assert_same(undisturbed, resumed)


def test_an_epoch_is_told_before_it_is_kept():
    """A process that is killed in between tells an epoch twice, which can be seen, and never skips one."""
    told, kept = [], Kept()

    def cut_off(result: EpochResult) -> None:
        told.append((result.epoch, len(kept.states)))
        if result.epoch == 1:
            raise CutOffError

    with pytest.raises(CutOffError):
        finetune(configuration("partial"), task(), seed=3, on_epoch=cut_off, checkpoints=kept)
    assert told == [(0, 0), (1, 1)]
    assert go_on(configuration("partial"), task(), kept)[1] == [1, 2]


def _other_data(work: Task) -> Task:
    return replace(work, train=split(30, seed=9))


@pytest.mark.parametrize(
    ("values", "change"),
    [
        ({"learning_rate": 1e-3}, lambda work: work),
        ({"freeze_depth": 8}, lambda work: work),
        ({}, _other_data),
        ({}, lambda work: replace(work, metric="balanced_accuracy")),
        ({}, lambda work: replace(work, precision=HALF)),
        ({}, lambda work: replace(work, backbones=BackbonePool(replace(SPEC, name="shufflenet_v2_x1_0")))),
    ],
    ids=["rate", "depth", "data", "metric", "precision", "backbone"],
)
def test_another_training_does_not_go_on_from_it(values: dict[str, Any], change: Callable[[Task], Task]):
    kept = Kept()
    go_on(configuration("partial"), task(), kept)
    config = create_config({**BASE, "strategy": "partial", **CASES["partial"], **values})
    assert go_on(config, change(task()), Kept(kept.states[:2]))[1] == [0, 1, 2]
    assert go_on(configuration("partial"), task(), Kept(kept.states[:2]))[1] == [2]


def test_nor_does_another_seed_or_another_plan():
    kept, config = Kept(), configuration("lora_then_full")
    go_on(config, task(), kept)
    told: list[int] = []
    finetune(config, task(), seed=4, on_epoch=lambda epoch: told.append(epoch.epoch), checkpoints=Kept(kept.states[:1]))
    assert told[0] == 0

    def longer(config: TrialConfig, units: int) -> tuple[Phase, ...]:
        first, second = _lora_then_full(config, units)
        return (first, replace(second, epochs=3))

    STRATEGIES.restore({**STRATEGIES, "lora_then_full": Strategy("lora_then_full", "", longer)})
    assert go_on(config, task(), Kept(kept.states[:1]))[1] == [0, 1, 2, 3, 4]


def test_a_state_holds_no_pickle_and_only_what_the_phase_may_change():
    from safetensors.torch import load

    kept = Kept()
    go_on(configuration("feature_extraction"), task(), kept)
    tensors = load(kept.states[0])
    assert {name.split("/")[0] for name in tensors} == {"network", "best", "optimization", "random"}
    assert all(name.split("/")[1].startswith("head.") for name in tensors if name.startswith(("network/", "best/")))


def test_time_before_the_kill_counts():
    kept = Kept()
    undisturbed, _ = go_on(configuration("partial"), task(), kept)
    resumed, _ = go_on(configuration("partial"), task(), Kept(kept.states[-1:]))
    assert resumed.seconds > sum(epoch.seconds for epoch in undisturbed.epochs)


def test_certificates_of_ended_phases_are_kept_as_they_were():
    kept, config = Kept(), configuration("lp_ft")
    undisturbed, _ = go_on(config, task(), kept)
    resumed, _ = go_on(config, task(), Kept(kept.states[-1:]))
    assert all(type(certificate) is Certificate for certificate in resumed.certificates)
    assert resumed.certificates == undisturbed.certificates
    assert resumed.certificates[0].describe() == undisturbed.certificates[0].describe()
