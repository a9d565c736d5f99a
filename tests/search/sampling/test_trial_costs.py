"""What trials cost before any is run: what is frozen costs nothing but its head."""

from __future__ import annotations

import pytest

from frostline.search.sampling.trial_costs import trial_costs
from frostline.search.space.default_space import COMPETING, default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.results import StudyFacts
from frostline.search.study.settings import StudySettings

FACTS = StudyFacts(("a", "b"), {}, "", (), ("one", "two", "three", "four"), (0.0, 0.4, 0.7, 0.9, 1.0))


def test_a_head_is_cheapest_and_the_whole_network_dearest() -> None:
    settings = StudySettings(
        name="flowers",
        data="photos",
        backbone="resnet18",
        weights="none",
        image_size=64,
        trials=40,
        metric="accuracy",
        seed=0,
        finals_seeds=1,
        space=resolve_space(create_space(default_tables(600)).only(COMPETING), 4),
    )
    # Of 10 epochs; a head alone has three times as many, half of lp_ft's are of the head, and partial freezes one unit.
    assert trial_costs(settings, FACTS) == pytest.approx(
        {"feature_extraction": 30 * 0.02, "partial": 10 * 0.6, "full": 10, "lp_ft": 5 * 0.02 + 5, "scratch": 10}
    )
