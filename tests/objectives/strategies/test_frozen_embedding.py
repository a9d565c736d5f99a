"""Full fine-tuning by SGD with a frozen embedding: what trains, and the identities in which it is another strategy."""

from __future__ import annotations

from dataclasses import replace

import torch

from frostline.objectives.config import BackboneSpec
from frostline.objectives.finetune import FinetuneResult, Task, finetune
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.strategies.plans import plan_phases

from ..tiny import task
from .test_more_strategies import assert_same
from .test_strategies import config

EMBEDDING = {f"embedding.{name}" for name in ("patches.weight", "patches.bias", "token", "positions")}


def patches() -> Task:
    return replace(task(), backbones=BackbonePool(BackboneSpec("patch_network:create", "none", 32)))


def run(strategy: str, **values: object) -> FinetuneResult:
    return finetune(config(strategy, **values), patches(), seed=0)


def test_everything_but_the_embedding_moves():
    shared = patches()
    before = shared.backbones.fresh(pretrained=True, seed=0).model.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    result = finetune(config("full", optimizer="sgd", freeze_embedding=True), shared, seed=0)
    after = result.network.backbone_state()
    assert {name for name in after if torch.equal(before[name], after[name])} == EMBEDDING
    (certificate,) = result.certificates
    assert certificate.passed
    assert certificate.freeze_depth == 1
    assert set(certificate.frozen) == EMBEDDING
    assert result.network.prefix.depth == 1, "its features are computed once"


def test_with_sgd_it_is_partial_after_the_first_unit():
    frozen = run("full", optimizer="sgd", freeze_embedding=True)
    assert_same(frozen, run("partial", optimizer="sgd", freeze_depth=1))
    assert frozen.epochs[-1].val_loss != run("full", optimizer="sgd").epochs[-1].val_loss


def test_with_adamw_it_is_full():
    assert_same(run("full", freeze_embedding=True), run("full"))


def test_a_single_unit_trains():
    given = config("full", optimizer="sgd", freeze_embedding=True, truncate=3)
    assert [phase.freeze_depth for phase in plan_phases(given, 4)] == [0]
    assert [phase.freeze_depth for phase in plan_phases(given, 5)] == [1]
