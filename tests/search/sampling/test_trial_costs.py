"""What trials cost before any is run: what is frozen costs nothing but its head."""

from __future__ import annotations

import pytest

from frostline.search.sampling.trial_costs import costs_by_strategy
from frostline.search.space.default_space import COMPETING, default_tables
from frostline.search.space.parsing import create_space, resolve_space


def test_a_head_is_cheapest_and_the_whole_network_dearest() -> None:
    space = resolve_space(create_space(default_tables(600)).only(COMPETING), 4)
    # Of 10 epochs; a head alone has three times as many, lp_ft half as many, and partial freezes one unit. Solving the
    # head counts as one epoch more.
    assert costs_by_strategy(space, (0.0, 0.4, 0.7, 0.9, 1.0)) == pytest.approx(
        {"feature_extraction": 31 * 0.02, "partial": 0.02 + 10 * 0.6, "full": 10, "lp_ft": 0.02 + 5, "scratch": 10}
    )
