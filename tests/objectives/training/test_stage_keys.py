"""Keys of stages: what affects the numbers of a stage is in its key, and what does not is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from frostline.objectives.config import FIXED_POOLINGS, TrialConfig, flatten
from frostline.objectives.finetune import Task, finetune
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.strategies import STRATEGIES, Strategy, register_strategy, takes_parameter
from frostline.objectives.training.checkpoint import pack, unpack
from frostline.objectives.training.stages import Stages
from frostline.storage.files.feature_files import FeatureFiles

from ..tiny import SPEC, fresh_pool, split, task
from .test_stages import BUDGET, GRADUAL, HEAD, LP_FT, RANDOM, DoneError, InMemory, configure, planned

# Another value for everything that can be configured.
OTHER: dict[str, Any] = {
    **{"freeze_depth": 9, "truncate": 2, "optimizer": "sgd", "momentum": 0.5, "nesterov": False},
    **{"learning_rate": 1e-2, "backbone_lr_ratio": 0.5, "weight_decay": 0.2, "schedule": "linear", "warmup": 0.5},
    **{"gradient_clip": 0.01, "ema_decay": 0.5, "label_smoothing": 0.2, "class_weights": "balanced"},
    **{"sampling": "balanced", "augmentation": "resized_crop", "randaugment_ops": 1, "randaugment_magnitude": 20},
    **{"views": 1, "mixing": "cutmix", "mixing_alpha": 0.9, "batch_size": 4, "epochs": 5, "probe_epochs": 1},
    **{"probe_learning_rate": 2e-2, "batch_norm": "eval", "patience": 1, "layer_decay": 0.5, "trained_units": 2},
    **{
        "unfreeze_every": 3,
        "freeze_embedding": True,
        "l2_sp_alpha": 0.5,
        "l2_sp_beta": 0.5,
        "lora_rank": 2,
        "lora_alpha": 2.0,
    },
    **{"head.pooling": "avgmax", "head.hidden_layers": 1, "head.width": 9, "head.activation": "tanh"},
    **{"head.normalization": "layer", "head.dropout": 0.4, "head.output": "cosine", "head.init": "xavier"},
    **{"head.queries": 5, "head.depths": 3, "head.function": "own_heads:average"},
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
        {
            **LP_FT,
            "optimizer": "sgd",
            "augmentation": "randaugment",
            "mixing": "mixup",
            "head.hidden_layers": 1,
            "head.pooling": "attention",
        },
        {*_BACKBONE, "learning_rate", "epochs"},
    ),
    "gradual_unfreezing": (GRADUAL, {*_BACKBONE, "layer_decay"}),
    "full from a probe": (
        {"strategy": "full", **RANDOM, "augmentation": "randaugment", "head.init": "probe"},
        {*_TRAINED, *_BACKBONE, "freeze_embedding"},
    ),
}


def small() -> Task:
    return task(train=13, val=9)


class FirstStage(InMemory):
    """Ends a trial when its first stage is written, and has it for no other trial."""

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        self.written[key] = data.tobytes()
        raise DoneError


class AskedError(Exception):
    """A trial asks for its first stage; nothing has been trained."""


class Asked(FeatureFiles):
    """Ends a trial when it asks for a stage."""

    def lock(self, key: str) -> Any:
        raise AskedError(key)


def key_of(values: Mapping[str, Any], work: Task, folder: Path, seed: int = 3) -> str:
    """Key of the stage that a trial begins with."""
    with pytest.raises(AskedError) as asked:
        finetune(configure(values), replace(work, stages=Stages(Asked(folder), BUDGET)), seed=seed)
    return str(asked.value)


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
    names -= {"head.function"}  # without other parameters of the head; see below
    if start.get("head.init") == "probe":
        names -= {"head.hidden_layers", "head.output", "head.init"}  # refused, or no probe
    if start.get("head.pooling", "avg") not in FIXED_POOLINGS:
        names -= {"head.depths"}  # refused
    default, present = flatten(configure({"strategy": start["strategy"]})), flatten(configure(start))
    others = {name: default[name] if present[name] == OTHER[name] else OTHER[name] for name in names}
    return {name: {**start, name: value} for name, value in others.items()}


@pytest.mark.parametrize("start", STARTS)
def test_what_affects_a_stage_is_in_its_key_and_what_does_not_is_not(start: str, tmp_path: Path):
    values, shared = STARTS[start]
    work = small()
    key = key_of(values, work, tmp_path)
    changed = {name: key_of(other, work, tmp_path) for name, other in variations(values).items()}
    assert {name for name, other in changed.items() if other == key} == shared & changed.keys()


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_equal_keys_mean_stages_that_are_equal_to_the_last_bit(start: str, tmp_path: Path):
    """The property: whatever one value is changed to, a trial that has the same key has trained the same."""
    values, shared = STARTS[start]
    work = small()
    key, content = stage_of(values, work, tmp_path)
    changed = {name: stage_of(other, work, tmp_path) for name, other in variations(values).items()}
    assert {name for name, (other, _) in changed.items() if other == key} == shared & changed.keys()
    assert [name for name, (other, left) in changed.items() if other == key and left != content] == []


@pytest.mark.slow
def test_the_property_sees_what_a_key_without_it_would_have_mixed_up(tmp_path: Path):
    """All that is in the key changes the numbers: the property test would find what is missing there."""
    values, shared = STARTS["lp_ft, sgd"]
    work = small()
    _, content = stage_of(values, work, tmp_path)
    changed = {name: stage_of(other, work, tmp_path)[1] for name, other in variations(values).items()}
    alike = {name for name, other in changed.items() if other == content}
    # Patience only acts where nothing gets better, which is another case above.
    assert alike - {"patience"} == shared


def probed() -> list[dict[str, Any]]:
    """A trial of every strategy that may begin with a solved probe, with parameters of its own."""
    strategies = [name for name, it in STRATEGIES.items() if it.pretrained and "head.init" not in it.refuses]
    # Depths change the features, which are in the key.
    taken = {name: STRATEGIES[name].takes - {"head.depths"} for name in strategies}
    own = {name: {parameter: OTHER[parameter] for parameter in taken[name]} for name in strategies}
    return [{"strategy": name, **RANDOM, "head.init": "probe", **own[name]} for name in strategies]


def test_strategies_share_the_key_of_the_solution_that_they_begin_with(tmp_path: Path):
    """And none of their own parameters is in it."""
    assert len(probed()) == 11
    assert len({key_of(start, small(), tmp_path) for start in probed()}) == 1


@pytest.mark.slow
def test_strategies_share_the_solution_that_they_begin_with(tmp_path: Path):
    assert len({stage_of(start, small(), tmp_path) for start in probed()}) == 1


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
    keys = [key_of(LP_FT, each, tmp_path) for each in (work, change(work))]
    assert keys[0] != keys[1]


def test_a_head_of_the_users_is_in_the_key_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    start, work = {name: value for name, value in LP_FT.items() if not name.startswith("head.")}, small()
    heads = [{"head.function": f"own_heads:{name}"} for name in ("average", "product_pooling")]
    keys = [key_of({**start, **head}, work, tmp_path) for head in ({}, *heads)]
    monkeypatch.setattr("frostline.objectives.user_code.source_digest", lambda name: "changed")
    keys += [key_of({**start, **heads[0]}, work, tmp_path)]
    assert len(set(keys)) == 4


def _other_weights() -> BackbonePool:
    """One weight in the last unit is another."""
    backbones = fresh_pool()
    name = next(name for name in reversed(backbones._pristine) if name.endswith("weight") and "fc" not in name)
    backbones._pristine[name].flatten()[0] += 1e-6
    return backbones


def test_another_seed_thread_count_or_version_is_another_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work = small()
    keys = [key_of(LP_FT, work, tmp_path), key_of(LP_FT, work, tmp_path, seed=4)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        keys.append(key_of(LP_FT, work, tmp_path))
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(torch, "__version__", "0.0.0")
    keys.append(key_of(LP_FT, work, tmp_path))
    assert len(set(keys)) == 4


def test_the_same_phases_in_other_chains_are_other_stages(tmp_path: Path):
    """The schedule of a phase depends on how long its whole chain is."""
    more = replace(HEAD, name="more", continues=True)
    plans = {"alone": (HEAD,), "chain": (HEAD, more), "longer": (HEAD, replace(more, epochs=3))}
    for name, leading in plans.items():
        register_strategy(Strategy(name, "", planned(*leading)))
    stages = {name: stage_of({"strategy": name}, small(), tmp_path) for name in plans}
    assert len({key for key, _ in stages.values()}) == 3
    assert len({content for _, content in stages.values()}) == 3
