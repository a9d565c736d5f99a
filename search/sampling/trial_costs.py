"""Estimates of trial costs before any trial ran, precise enough to order strategies by cost."""

from __future__ import annotations

from collections.abc import Sequence

from ...objectives.config import create_config
from ...objectives.strategies import STRATEGIES, plan_trial
from ..space import Space
from .budget import HEAD_EPOCH


def costs_by_strategy(space: Space, frozen_flops: Sequence[float]) -> dict[str, float]:
    """Return the cost of each strategy's default configuration, in epochs of the whole network.

    Features of frozen layers are computed once, so an epoch costs the share of FLOPs after the frozen layers.

    Args:
        space: Search space of the study, with resolved depths.
        frozen_flops: Share of the FLOPs saved by freezing 0, 1, ... all units.

    Examples:
        >>> from frostline.search.sampling import costs_by_strategy
        >>> from frostline.search.space import create_space
        >>> space = create_space({"full": {"epochs": 10}, "feature_extraction": {"epochs": 30}})
        >>> costs_by_strategy(space, [0.0, 0.4, 1.0]) == {"full": 10, "feature_extraction": 30 * 0.02}
        True
    """
    costs = {}
    # A process that only reads a study does not import the plugins of its strategies.
    for strategy in STRATEGIES.keys() & set(space.strategies):
        phases = plan_trial(create_config(space.default(strategy)), len(frozen_flops) - 1).phases
        shares = [max(1 - frozen_flops[phase.freeze_depth], HEAD_EPOCH) for phase in phases]
        costs[strategy] = sum(phase.epochs * share for phase, share in zip(phases, shares, strict=True))
    return costs
