"""What trials cost, known before one is run: good enough to try what is cheap first."""

from __future__ import annotations

from collections.abc import Sequence

from ...objectives.config import create_config
from ...objectives.strategies.catalog import STRATEGIES
from ...objectives.strategies.plans import plan_phases
from ..space.space import Space

# An epoch of a head on kept features takes about so much of one of the whole network (benchmarks/results/).
HEAD_EPOCH = 0.02


def trial_costs(space: Space, frozen_flops: Sequence[float]) -> dict[str, float]:
    """Of each strategy's default configuration, in epochs of the whole network.

    What is frozen is computed once and kept, so an epoch costs the share of the operations that comes after the cut.

    Args:
        space: Search space of the study, its depths resolved.
        frozen_flops: Share of the operations that freezing 0, 1, ... all units saves.
    """
    costs = {}
    # Who reads a finished study does without the plugins of its strategies.
    for strategy in STRATEGIES.keys() & set(space.strategies):
        phases = plan_phases(create_config(space.default(strategy)), len(frozen_flops) - 1)
        shares = [max(1 - frozen_flops[phase.freeze_depth], HEAD_EPOCH) for phase in phases]
        costs[strategy] = sum(phase.epochs * share for phase, share in zip(phases, shares, strict=True))
    return costs
