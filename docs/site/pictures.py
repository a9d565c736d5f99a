"""Pictures of what trains, drawn from the plans of the strategies themselves."""

from __future__ import annotations

from html import escape

from frostline.objectives.config import TrialConfig
from frostline.objectives.phases import Phase, every_parameter
from frostline.objectives.strategies import BUILT_IN, get_strategy, plan_phases

UNITS = 6
# Configurations that show what a strategy is about, on a network of six units.
SHOWN = {
    "partial": {"freeze_depth": 4},
    "lp_ft": {"epochs": 10, "probe_epochs": 4},
    "gradual_unfreezing": {"epochs": 10, "unfreeze_every": 2, "freeze_depth": 2},
    "discriminative": {"layer_decay": 0.5},
    "surgical": {"freeze_depth": 1, "trained_units": 2},
}
_BOX, _GAP, _LEFT, _TOP, _ROW = 62, 8, 150, 34, 46
_FROZEN, _TRAINED, _HEAD, _RANDOM = "#b8d4e8", "#e07a3f", "#7a4fb5", "#c9a227"


def strategy_names() -> tuple[str, ...]:
    """Return the built-in strategies, in the order of their registration."""
    return tuple(BUILT_IN)


def picture(name: str) -> str:
    """Return a strategy as an inline SVG: a row for each phase, a box for each unit, the head last.

    Args:
        name: Name of a built-in strategy.
    """
    strategy = get_strategy(name)
    phases = plan_phases(TrialConfig.model_validate({"strategy": name, **SHOWN.get(name, {})}), UNITS)
    width, height = _LEFT + (UNITS + 1) * (_BOX + _GAP) + 10, _TOP + len(phases) * _ROW + 8
    rows = "".join(_row(phase, place, pretrained=strategy.pretrained) for place, phase in enumerate(phases))
    title = escape(f"{name}: {strategy.summary}")
    heads = "".join(
        _text(_LEFT + place * (_BOX + _GAP) + _BOX / 2, 20, label, "middle")
        for place, label in enumerate([*(f"unit {unit + 1}" for unit in range(UNITS)), "head"])
    )
    return (
        f'<svg class="strategy" viewBox="0 0 {width} {height}" width="100%" style="max-width:{width}px" role="img" '
        f'aria-label="{title}" xmlns="http://www.w3.org/2000/svg"><title>{title}</title>{heads}{rows}</svg>'
    )


def _row(phase: Phase, place: int, *, pretrained: bool) -> str:
    top = _TOP + place * _ROW
    rates = (*([0.0] * phase.freeze_depth), *phase.unit_learning_rates)
    highest = max((*rates, phase.head_learning_rate)) or 1.0
    boxes = "".join(_unit(phase, unit, top, rates[unit], highest, pretrained) for unit in range(UNITS))
    said = "solved" if phase.solve else f"{phase.epochs} epochs"
    head = _box(UNITS, top, _HEAD, 1.0, "solved" if phase.solve else "trains")
    return f"{_text(4, top + 15, phase.name, 'start')}{_text(4, top + 31, said, 'start', faint=True)}{boxes}{head}"


def _unit(phase: Phase, unit: int, top: float, rate: float, highest: float, pretrained: bool) -> str:
    if rate == 0:
        return _box(unit, top, _FROZEN, 1.0, "frozen")
    said = "adapters" if phase.adapt else "norms" if phase.selects is not every_parameter else "trains"
    # Slower units are paler; the square root keeps slow ones visible.
    return _box(unit, top, _TRAINED if pretrained else _RANDOM, 0.35 + 0.65 * (rate / highest) ** 0.5, said)


def _box(place: int, top: float, color: str, strength: float, said: str) -> str:
    left, ink = _LEFT + place * (_BOX + _GAP), "#fff" if color == _HEAD else "#111"
    return (
        f'<rect x="{left}" y="{top}" width="{_BOX}" height="{_ROW - 12}" rx="5" fill="{color}" '
        f'fill-opacity="{strength:.2f}" stroke="{color}"/>'
        f'<text x="{left + _BOX / 2}" y="{top + 22}" text-anchor="middle" font-size="12" fill="{ink}">{said}</text>'
    )


def _text(x: float, y: float, said: str, anchor: str, *, faint: bool = False) -> str:
    faded = ' fill-opacity="0.7"' if faint else ""
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="12" fill="currentColor"{faded}>{escape(said)}</text>'
    )
