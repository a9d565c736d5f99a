"""Defects found by reading other projects' code (strategies.md, 4.1), one test each: none of them may be ours.

Where it can be, a test first shows the defect on the rival's way of doing it, so that it could fail.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import frostline.dashboards
import frostline.objectives
import frostline.search
import frostline.storage
from frostline.objectives import finetune as finetuning
from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.data.splits import stratified_split
from frostline.objectives.finetune import FinetuneResult, Task, finetune, predict
from frostline.search.tracking.training_runs import describe

from .tiny import PREPROCESSING, pool, task

UNITS = 18


def config(strategy: str, **values: object) -> TrialConfig:
    return create_config({"strategy": strategy, "epochs": 2, "batch_size": 8, "learning_rate": 1e-2, **values})


def run(strategy: str, **values: object) -> FinetuneResult:
    return finetune(config(strategy, **values), task(), seed=0)


def pretrained() -> dict[str, Tensor]:
    return {name: value.clone() for name, value in pool().fresh(pretrained=True, seed=0).model.state_dict().items()}


def moved(result: FinetuneResult, before: dict[str, Tensor]) -> list[set[str]]:
    """Names of the tensors that training changed, by unit."""
    after = result.network.backbone_state()
    units = pool().pretrained.unit_tensors().values()
    return [{name for name in names if not torch.equal(before[name], after[name])} for names in units]


@pytest.mark.parametrize(("strategy", "depth"), [("feature_extraction", UNITS), ("partial", 9), ("lp_ft", 9)])
def test_1_quick_tune_and_fimm_let_the_statistics_of_frozen_batch_norms_drift(strategy: str, depth: int):
    """They call ``model.train()`` on the whole network each epoch, so their linear probe is none."""
    before = pretrained()
    theirs = pool().fresh(pretrained=True, seed=0).model.requires_grad_(False).train()
    theirs(torch.randn(8, 3, 32, 32))
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert all(not torch.equal(before[name], theirs.state_dict()[name]) for name in statistics)

    result = run(strategy, **({} if depth == UNITS else {"freeze_depth": depth}))
    assert moved(result, before)[:depth] == [set()] * depth
    modes = result.certificates[-1].batch_norms
    frozen = {name for unit in list(pool().pretrained.unit_tensors().values())[:depth] for name in unit}
    assert {modes[name.removesuffix(".running_mean")] for name in frozen & set(statistics) if "mean" in name} == {
        "eval"
    }


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_2_quick_tunes_lp_ft_never_trains_the_backbone_under_weight_decay(weight_decay: float):
    """Its groups date from the probe and skip what was frozen then, so the regime depends on the weight decay."""
    before = pretrained()
    result = run("lp_ft", weight_decay=weight_decay)
    assert [set(names) for names in pool().pretrained.unit_tensors().values()] == moved(result, before)
    probe, whole = (certificate.groups for certificate in result.certificates)
    assert probe is not None
    assert whole is not None
    assert {group.name for group in probe} == {"head"}
    held = {name for group in whole for name in group.parameters}
    parameters = dict(pool().pretrained.model.named_parameters())
    assert {name for unit in pool().pretrained.unit_tensors().values() for name in unit if name in parameters} <= held


class GoneError(Exception):
    pass


class _OneEpoch:
    """Checkpoints of processes that live for one epoch each."""

    def __init__(self) -> None:
        self.state: bytes | None = None

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: Callable[[], bytes]) -> None:
        self.state = state()
        raise GoneError


@pytest.mark.parametrize("epochs", [6, 50])
def test_3_quick_tunes_phase_plan_changes_when_a_trial_is_resumed(epochs: int):
    """It fine-tunes from ``epoch == (num_epochs - start_epoch) // 2`` on: never, if each epoch is a resume of 50."""
    theirs = [epoch == (epochs - epoch) // 2 for epoch in range(epochs)]
    assert any(theirs) == (epochs != 50)

    plan = config("lp_ft", epochs=epochs, patience=99, freeze_depth=17, learning_rate=1e-3)
    work, kept, seen = task(train=9, val=6), _OneEpoch(), []
    for _ in range(epochs):
        with pytest.raises(GoneError):
            finetune(
                plan, work, seed=0, on_epoch=lambda epoch: seen.append((epoch.epoch, epoch.phase)), checkpoints=kept
            )
    half = epochs // 2
    assert seen == list(enumerate(["probe"] * half + ["finetune"] * (epochs - half)))
    result = finetune(plan, work, seed=0, checkpoints=kept)
    undisturbed = finetune(plan, work, seed=0)
    assert [epoch.learning_rates for epoch in result.epochs] == [epoch.learning_rates for epoch in undisturbed.epochs]
    assert [epoch.val_loss for epoch in result.epochs] == [epoch.val_loss for epoch in undisturbed.epochs]


@pytest.mark.parametrize("strategy", ["partial", "lp_ft", "surgical", "l2_sp", "gradual_unfreezing"])
def test_4_quick_tune_and_qtt_mean_different_things_by_their_share_to_freeze(strategy: str):
    """Modules, containers included, in one; parameters in the other. Ours are units, whatever the strategy, and both
    shares are logged: they differ widely."""
    depth = 15
    extra = {"gradual_unfreezing": {"epochs": 4}, "surgical": {"trained_units": 3}}.get(strategy, {})
    before = pretrained()
    result = run(strategy, freeze_depth=depth, **extra)
    changes = moved(result, before)
    assert [bool(names) for names in changes] == [False] * depth + [True] * (UNITS - depth)

    backbone = pool().fresh(pretrained=True, seed=0)
    counts, operations = [], []
    for part in (backbone.segment(0, depth), backbone.segment(0, UNITS)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            part.eval()(torch.zeros(1, 3, 32, 32))
        operations.append(counter.get_total_flops())
        counts.append(sum(parameter.numel() for parameter in part.parameters()))
    logged = describe(result)
    assert logged["freeze_depth"] == depth
    assert logged["frozen_parameter_share"] == pytest.approx(counts[0] / counts[1])
    assert logged["frozen_flop_share"] == pytest.approx(operations[0] / operations[1], rel=0.02)
    assert logged["frozen_flop_share"] - logged["frozen_parameter_share"] > 0.2


def test_5_qtt_scores_a_trial_by_its_last_epoch():
    """Ours has the score of the weights that it gives back: those of the best epoch. The test split: see 7."""
    work = task(train=60, val=30)
    # Classes drawn by lot, or all epochs would be perfect: what is learned says nothing of the validation images.
    lot = np.random.default_rng(0)
    parts = {name: getattr(work, name) for name in ("train", "val")}
    parts = {name: replace(part, labels=lot.integers(3, size=len(part))) for name, part in parts.items()}
    work = replace(work, **parts)
    result = finetune(config("full", epochs=8, learning_rate=0.3, schedule="constant"), work, seed=0)
    assert result.epochs[-1].score < result.score == max(epoch.score for epoch in result.epochs)
    found = predict(result.network, work.val, work).argmax(axis=1)
    assert np.mean(found == work.val.labels) == result.score


@pytest.mark.parametrize("policy", ["none", "crop", "flip_crop", "resized_crop", "trivial", "randaugment"])
def test_6_autotrain_augments_whatever_one_says_and_validates_on_another_geometry(policy: str, monkeypatch: Any):
    """It turns by 90 degrees with no way to switch that off, crops in training and squashes in validation."""
    seen: list[Any] = []
    original = finetuning.train_phase

    def spy(phase_run: Any, configuration: TrialConfig, data: Any, on_epoch: Any) -> None:
        seen.append(data)
        original(phase_run, configuration, data, on_epoch)

    monkeypatch.setattr(finetuning, "train_phase", spy)
    work = task()
    finetune(config("full", augmentation=policy, epochs=1), work, seed=0)
    for source, part in ((seen[0].val, work.val), (seen[0].train, work.train)):
        positions = torch.arange(len(part))
        cropped = reference.center_crop(part.images(positions), [PREPROCESSING.image_size] * 2)
        expected = reference.normalize(cropped.float() / 255, list(PREPROCESSING.mean), list(PREPROCESSING.std))
        evaluated = part is work.val or policy == "none"
        for epoch in (0, 1):
            assert torch.allclose(source.batch(positions, epoch), expected, atol=1e-5) == evaluated


def test_7_optunas_example_tunes_on_the_test_split():
    """No trial of ours is given it; of the sources, only finals, the stock of their networks and a diagnosis do."""
    known = {"train", "val", "backbones", "metric", "device", "store", "stages", "micro_batches", "precision"}
    assert {field.name for field in fields(Task)} == known
    packages = (frostline.search, frostline.objectives, frostline.storage, frostline.dashboards)
    sources = [file for package in packages for file in Path(package.__path__[0]).rglob("*.py")]
    assert len(sources) > 60
    users: dict[str, set[str]] = {"open_test": set(), "audited": set(), "data_faults": set()}
    for file in sources:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in users:
                users[node.attr].add("/".join(file.parts[-2:]))
    assert users["open_test"] == {"execution/finals.py", "execution/model_stock.py", "execution/truncation.py"}
    # The search for faults of the data sees all images; what it finds is written once, and only readers read it.
    # A script of a trial names the files of each split.
    assert users["audited"] == {"objectives/fault_finder.py", "execution/data_audit.py", "export/trial_script.py"}
    writers, trackers = {"execution/data_audit.py", "study/study.py"}, {"tracking/verdict_run.py"}
    readers = {
        "study/results.py",
        "study/stored_results.py",
        "cli/results_json.py",
        "terminal/rich_tables.py",
        "report/fault_lists.py",
    }
    readers |= {"export/model_card.py"}
    assert users["data_faults"] == writers | trackers | readers


@pytest.mark.parametrize("strategy", ["lp_ft", "full", "partial", "l2_sp", "surgical", "norm_bias", "lora"])
def test_8_autogluons_two_stages_scales_the_rate_of_the_head_instead_of_the_backbone(strategy: str):
    """Its documentation says the backbone's; the default of 1 hides it."""
    extra = {"partial": {"freeze_depth": 9}, "surgical": {"freeze_depth": 9, "trained_units": 2}}.get(strategy, {})
    result = run(strategy, backbone_lr_ratio=0.01, learning_rate=0.02, schedule="constant", **extra)
    assert result.epochs[-1].learning_rates == pytest.approx({"head": 0.02, "backbone": 0.0002})
    groups = result.certificates[-1].groups or ()
    slow = {name for group in groups if group.learning_rate < 0.02 for name in group.parameters}
    assert slow
    assert not any(name.startswith("head.") for name in slow)


def test_9_vtabs_validation_images_are_the_first_200_after_a_mark_and_not_drawn():
    """On images in the order of their classes, that leaves classes out; ours has every class in its share."""
    labels = np.repeat(np.arange(10), 200)
    assert set(labels[int(0.9 * len(labels)) :][:200]) == {9}
    parts = stratified_split(labels, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=0)
    assert Counter(labels[parts["val"]].tolist()) == dict.fromkeys(range(10), 20)
    assert np.any(np.diff(parts["val"]) > 1), "drawn, not cut"
    assert set(parts["val"]) != set(stratified_split(labels, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=1)["val"])
