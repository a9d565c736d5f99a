"""What trials cost, known before one is run: good enough to try what is cheap first."""

from __future__ import annotations

from ...objectives.config import create_config
from ...objectives.strategies.catalog import STRATEGIES
from ...objectives.strategies.plans import plan_phases
from ..study.results import StudyFacts
from ..study.settings import StudySettings

# An epoch of a head on kept features takes about so much of one of the whole network (benchmarks/results/).
HEAD_EPOCH = 0.02


def trial_costs(settings: StudySettings, facts: StudyFacts) -> dict[str, float]:
    """Of each strategy's default configuration, in epochs of the whole network.

    What is frozen is computed once and kept, so an epoch costs the share of the operations that comes after the cut.

    Args:
        settings: Of the study.
        facts: Of its backbone.
    """
    costs = {}
    # Who reads a finished study does without the plugins of its strategies.
    for strategy in STRATEGIES.keys() & set(settings.strategies):
        phases = plan_phases(create_config(settings.space.default(strategy)), len(facts.units))
        shares = [max(1 - facts.frozen_flops[phase.freeze_depth], HEAD_EPOCH) for phase in phases]
        costs[strategy] = sum(phase.epochs * share for phase, share in zip(phases, shares, strict=True))
    return costs
