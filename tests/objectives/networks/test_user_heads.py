"""A user's head: built and tried without a trace, cut from its pooling, trained like the built-in one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frostline.objectives.config import HeadConfig, create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import finetune
from frostline.objectives.networks import create_head, head_source, require_new_heads
from frostline.objectives.networks.heads import FixedPooling
from frostline.objectives.strategies import plan_phases

from ..tiny import own_task

heads: Any = importlib.import_module("own_heads")
SHAPE = (4, 3, 3)


def create(name: str, shape: tuple[int, ...] = SHAPE) -> nn.Sequential:
    return create_head(HeadConfig(function=f"own_heads:{name}"), shape, 3)


@pytest.mark.parametrize("name", ["average", "product_pooling", "gated"])
def test_the_trial_on_zeros_leaves_no_trace(name: str) -> None:
    torch.manual_seed(0)
    expected, after = getattr(heads, name)(SHAPE, 3).state_dict(), torch.rand(3)
    torch.manual_seed(0)
    head = create(name)
    assert torch.equal(torch.rand(3), after)
    assert all(module.training for module in head.modules())
    for value, other in zip(head.state_dict().values(), expected.values(), strict=True):
        assert torch.equal(value, other)


def test_only_torchs_and_our_own_pooling_joins_the_frozen_prefix() -> None:
    layers = {name: FixedPooling.of(create(name)).layers for name in ("average", "product_pooling", "gated")}
    assert layers == {"average": 2, "product_pooling": 1, "gated": 0}
    # A subclass is taken whole, and one of a pooling's ends it.
    assert FixedPooling.of(create("doubled")).layers == 0
    assert FixedPooling.of(create("squared")).layers == 1
    features = torch.rand(2, *SHAPE)
    head = create("doubled")
    rows = head[0].children()
    assert torch.equal(head(features), 2 * nn.Sequential(*rows)(features))


@pytest.mark.parametrize(
    ("strategy", "more"),
    [("feature_extraction", {}), ("full", {}), ("lp_ft", {"probe_epochs": 1, "freeze_depth": 14})],
)
def test_a_users_default_head_trains_to_the_numbers_of_the_built_in_one(strategy: str, more: dict[str, Any]) -> None:
    values = {"strategy": strategy, "epochs": 2, "learning_rate": 0.05, **more}
    known, mine, torchs = (
        finetune(create_config(values | extra), own_task(), seed=3)
        for extra in ({}, *({"head.function": f"own_heads:{name}"} for name in ("product_pooling", "average")))
    )
    assert np.array_equal(mine.val_probabilities, known.val_probabilities)
    assert [epoch.score for epoch in mine.epochs] == [epoch.score for epoch in known.epochs]
    # Another order of the sum in the average.
    assert np.abs(torchs.val_probabilities - known.val_probabilities).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one_logit", "maps features (2, 4, 3, 3) to (2, 1); logits (2, 3) are needed"),
        ("no_module", "returns a Tensor, not a torch.nn.Module"),
        ("no_parameters", "without parameters that train"),
        ("too_narrow", "fails on features of zeros, shape (2, 4, 3, 3): RuntimeError"),
        ("raises", "fails: RuntimeError: no head today"),
        ("number", "is a int, not a function"),
        ("averge", "Did you mean 'average'?"),
    ],
)
def test_what_is_no_head_is_refused(name: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        create(name)
    assert said in str(raised.value)


def test_a_head_is_new_in_each_call() -> None:
    require_new_heads("own_heads:lazy", SHAPE, 3)
    with pytest.raises(InvalidInputError, match="returns the same parameters again"):
        require_new_heads("own_heads:kept", SHAPE, 3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"strategy": "full", "head.dropout": 0.1, "head.pooling": "max"},
            "makes the whole head: leave out head.pooling, head.dropout",
        ),
        ({"strategy": "full", "head.init": "probe"}, "leave out head.init"),
        ({"strategy": "feature_extraction", "head.depths": 2}, "leave out head.depths"),
        ({"strategy": "linear_probe_exact"}, "linear_probe_exact takes no head.function"),
    ],
)
def test_it_stands_alone(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        plan_phases(create_config({**values, "head.function": "own_heads:average"}), units=5)
    assert said in str(raised.value)
    plan_phases(create_config({"strategy": "full", "head.function": "own_heads:average", "head.dropout": 0.0}), units=5)


def test_its_code_is_part_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = []
    for comment in ("", "# changed\n"):
        (tmp_path / "changing_heads.py").write_text(f"{comment}def head(feature_shape, num_classes): ...\n")
        sources.append(head_source("changing_heads:head"))
        sys.modules.pop("changing_heads")
    assert sources[0] != sources[1]
    assert all(source and source.startswith("changing_heads:head ") for source in sources)
    assert head_source(None) is None
