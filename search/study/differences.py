"""Differences between a study's settings and those of a request, as a user reads them: one line a setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..durations import write_duration
from ..space import Domain, Space, domain_text
from .settings import StudySettings
from .study_file import option_of

# Parameters of a strategy that are told with their domains; more are only named.
_MOST = 4


def told_differences(there: StudySettings, here: StudySettings) -> list[str]:
    """Return a line for each setting, strategy and parameter of the space that differs.

    Args:
        there: Settings of the study that exists.
        here: Settings that were asked for.
    """
    told = [
        f"  {option_of(name)}: {_shown(name, old)} there, {_shown(name, new)} here"
        for name, (old, new) in there.differences(here).items()
        if not name.startswith("space.")
    ]
    return told + _of_spaces(there.space, here.space)


def _of_spaces(there: Space, here: Space) -> list[str]:
    told = []
    for strategy in dict.fromkeys([*there.strategies, *here.strategies]):
        old, new = there.strategies.get(strategy), here.strategies.get(strategy)
        if old is None or new is None:
            told.append(f"  strategy {strategy}: only {'there' if new is None else 'here'}")
        else:
            told += _of_domains(strategy, old, new)
    return told


def _of_domains(strategy: str, old: Mapping[str, Domain], new: Mapping[str, Domain]) -> list[str]:
    texts = {
        name: [domain_text(own[name]) if name in own else "nothing" for own in (old, new)]
        for name in dict.fromkeys([*old, *new])
    }
    differing = {name: (was, now) for name, (was, now) in texts.items() if was != now}
    if len(differing) > _MOST:
        return [f"  [{strategy}] {len(differing)} parameters: {', '.join(differing)}"]
    return [f"  [{strategy}] {name}: {was} there, {now} here" for name, (was, now) in differing.items()]


def _shown(name: str, value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    return write_duration(value) if name == "budget" else str(value)
