"""The phases of a trial as plain values: names of what trains, in place of the functions that choose it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import nn

from ...objectives.backbones import Backbone
from ...objectives.networks import adaptable, add_lora
from ...objectives.phases import Phase, chains, every_parameter
from ...objectives.training import l2_sp
from .plain_network import parts_of


def phase_faults(phases: Sequence[Phase]) -> Iterator[str]:
    """Yield what of a plan a script has no words for: what training itself decides, and functions of plugins."""
    if any(phase.until_plateau for phase in phases):
        yield "its phases share their epochs, which a script does not repeat"
    if any(phase.relative_rates for phase in phases):
        yield "its rates follow the gradients, which a script does not repeat"
    for phase in phases:
        if phase.adapt and (not _is(phase.adapt, add_lora) or phase is not phases[-1]):
            yield f"phase {phase.name!r} adds other adapters than those of lora, which a script does not repeat"
        if phase.penalty and not _is(phase.penalty, l2_sp):
            yield f"phase {phase.name!r} has another penalty than l2_sp, which a script does not repeat"


def describe_phases(phases: Sequence[Phase], backbone: Backbone) -> list[dict[str, Any]]:
    """Return the values of each phase as code, by name; ``further`` has those that only some strategies need."""
    found = []
    for chain in chains(phases):
        for phase in chain:
            own = _phase(phase, backbone)
            own["further"] = {name: repr(value) for name, value in _further(phase, phases, chain, backbone).items()}
            found.append(own)
    return found


def _phase(phase: Phase, backbone: Backbone) -> dict[str, Any]:
    trained = _trained(phase, backbone)
    frozen = [unit for unit in range(len(backbone.units)) if unit not in trained]
    one = set(trained.values())
    rates = {"": one.pop()} if len(one) == 1 else _by_part(backbone, trained)
    return {
        "name": repr(phase.name),
        "epochs": "0" if phase.solve else repr(phase.epochs),
        "head_rate": repr(phase.head_learning_rate),
        "rates": repr(rates),
        "batch_norm": repr(phase.batch_norm),
        "frozen": repr(parts_of(backbone, frozen)),
    }


def _further(phase: Phase, phases: Sequence[Phase], chain: Sequence[Phase], backbone: Backbone) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if any(each.continues for each in phases):
        scheduled = sum(each.epochs for each in chain)
        found |= {"continues": phase.continues, "scheduled": scheduled, "last": phase is chain[-1]}
    if any(each.selects is not every_parameter for each in phases):
        found |= {"selected": _selected(phase, backbone)}
    if any(each.adapt for each in phases):
        found |= {"adapted": _adapted(phase, backbone), "low_rank": _keywords(phase.adapt)}
    if any(each.penalty for each in phases):
        found |= {"penalty": _keywords(phase.penalty)}
    if not all(each.decays_backbone for each in phases):
        found |= {"decays_backbone": phase.decays_backbone}
    return found


def _trained(phase: Phase, backbone: Backbone) -> dict[int, float]:
    """Return the learning rates of the units that train."""
    units = range(phase.freeze_depth, len(backbone.units))
    return {unit: rate for unit, rate in zip(units, phase.unit_learning_rates, strict=True) if rate > 0}


def _by_part(backbone: Backbone, rates: dict[int, float]) -> dict[str, float]:
    return {part: rate for unit, rate in rates.items() for part in parts_of(backbone, [unit])}


def _selected(phase: Phase, backbone: Backbone) -> tuple[str, ...]:
    """Return the names of the parameters that train."""
    return tuple(
        f"{path}.{name}".lstrip(".")
        for unit in _trained(phase, backbone)
        for path, module in backbone.segment(unit, unit + 1).named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if phase.selects(module, name)
    )


def _adapted(phase: Phase, backbone: Backbone) -> tuple[tuple[str, str, int], ...]:
    """Return module, weight and number of stacked matrices of each adapted weight, in the order of their draws."""
    found: list[tuple[str, str, int]] = []
    for unit in _trained(phase, backbone) if phase.adapt else ():
        segment: nn.Module = backbone.segment(unit, unit + 1)
        paths = {id(module): path for path, module in segment.named_modules()}
        found += [(paths[id(module)], name, blocks) for module, name, blocks in adaptable(segment)]
    return tuple(found)


def _is(given: Any, function: Any) -> bool:
    return isinstance(given, partial) and given.func is function


def _keywords(given: Any) -> dict[str, Any]:
    return {} if given is None else dict(given.keywords)
