"""Where a search freezes patch embeddings: for full fine-tuning by SGD, unless its space says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frostline.objectives.config import create_config
from frostline.search.space.default_space import default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.observer import Observer
from frostline.search.study.prepare import prepare_search
from frostline.search.study.request import Request
from frostline.storage.workspace import Workspace

NAME = "freeze_embedding"


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"optimizer": "sgd"}, (True,)),
        ({"optimizer": {"choices": ["adamw", "sgd"]}}, (True,)),
        ({"optimizer": "sgd", NAME: False}, (False,)),
        ({"optimizer": "sgd", NAME: {"choices": [False, True]}}, (False, True)),
        ({"optimizer": "adamw"}, None),
        ({}, None),
    ],
)
def test_it_is_frozen_with_sgd_unless_the_space_says_otherwise(table: dict[str, Any], found: tuple[bool, ...] | None):
    others = {strategy: {"optimizer": "sgd"} for strategy in ("discriminative", "feature_extraction", "lp_ft")}
    space = resolve_space(create_space({"full": table} | others), 6, embeds_patches=True)
    domain = space.strategies["full"].get(NAME)
    assert (domain and domain.choices) == found
    assert not any(NAME in space.strategies[strategy] for strategy in others)


def test_only_trials_with_sgd_have_it():
    space = resolve_space(create_space(default_tables()), 6, embeds_patches=True)
    assert NAME not in space.default("full")
    with_sgd = space.default_with("full", {"optimizer": "sgd"})
    assert create_config(with_sgd).freeze_embedding


def test_nothing_changes_for_other_networks():
    space = create_space(default_tables())
    assert resolve_space(space, 6).model_dump() == resolve_space(space, 6, embeds_patches=False).model_dump()
    assert not any(NAME in own for own in resolve_space(space, 6).strategies.values())


@pytest.mark.parametrize(("backbone", "expected"), [("patch_network:create", True), ("tiny_network:create", False)])
def test_a_search_looks_at_its_backbone(tmp_path: Path, backbone: str, expected: bool):
    request = Request("sklearn:digits[0-2]@60", backbone, "none", 32, trials=5, device="cpu")
    settings = prepare_search(request, Workspace(tmp_path), Observer()).study.settings
    assert (NAME in settings.space.strategies["full"]) is expected
