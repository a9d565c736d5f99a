"""Random studies: whatever settings and space are valid run to their end, whatever is not is refused with a message."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from frostline.objectives.config import flatten
from frostline.objectives.errors import InvalidInputError
from frostline.search.execution.batches import AskedTrial, TrialBatches
from frostline.search.execution.worker import open_worker
from frostline.search.space.default_space import default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.space.space import Space
from frostline.search.space.space_file import read_space, tables_of, write_space
from frostline.search.study.facts import StudyFacts
from frostline.search.study.settings import StudySettings
from frostline.search.study.stored_records import OUTCOME, STARTED
from frostline.search.study.study import Study
from frostline.search.study.study_file import read_study
from frostline.storage.workspace import Workspace

from ..mutations import mutations, unpickled

QUICK, SLOW = 4, 60
UNITS = 9


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(params=[pytest.param(QUICK, id="quick"), pytest.param(SLOW, id="many", marks=pytest.mark.slow)])
def studies(request: pytest.FixtureRequest) -> int:
    """How many studies."""
    return request.param


# What is valid


def narrowed(value: Any, rng: np.random.Generator) -> Any:
    """Part of a domain: fewer choices, a smaller range, or one value."""
    if not isinstance(value, Mapping):
        return value
    domain = dict(value)
    domain.pop("default", None)
    if "choices" in domain:
        choices = domain["choices"]
        kept = rng.permutation(len(choices))[: rng.integers(1, 1 + len(choices))]
        return {**domain, "choices": [choices[place] for place in sorted(kept)]}
    low, high, integer = domain["low"], domain["high"], isinstance(domain["low"], int)
    if domain.get("log"):
        one, other = np.exp(rng.uniform(math.log(low), math.log(high), 2))
    else:
        one, other = rng.uniform(low, high, 2)
    one, other = sorted((float(one), float(other)))
    if integer:
        one, other = math.ceil(min(one, math.floor(other))), math.floor(other)
    domain |= {"low": max(low, min(one, other)), "high": other}
    return domain | ({"default": other} if rng.random() < 0.5 else {})


def random_tables(rng: np.random.Generator) -> dict[str, Any]:
    """Some strategies, with part of their default domains; conditions stay with what they are about."""
    tables = default_tables(int(rng.choice([50, 1000, 10**6])))
    names = [name for name in tables if name != "shared"]
    chosen = [names[place] for place in sorted(rng.permutation(len(names))[: rng.integers(1, 5)])]
    found: dict[str, Any] = {}
    for name in ("shared", *chosen):
        table = copy.deepcopy(dict(tables[name]))
        for key in [key for key in table if key != "head" and rng.random() < 0.5]:
            # Depths count from the end, where less and more are not what they seem.
            table[key] = table[key] if key == "freeze_depth" else narrowed(table[key], rng)
        found[name] = table
    return found


def random_settings(number: int) -> StudySettings:
    rng = np.random.default_rng(number)
    space = resolve_space(create_space(random_tables(rng)), UNITS)
    return StudySettings(
        name=f"random-{number}",
        data="none",
        backbone="none",
        weights="none",
        image_size=int(rng.integers(1, 600)),
        trials=len(space.strategies) + int(rng.integers(0, 12)),
        metric="accuracy",
        seed=int(rng.integers(0, 2_000_000_000)),
        finals_seeds=int(rng.integers(1, 9)),
        candidates=int(rng.integers(1, 5)),
        racing=bool(rng.integers(2)),
        population=int(rng.integers(1, 6)),
        space=space,
    )


def run(study: Study, rng: np.random.Generator) -> dict[int, tuple[str, dict[str, Any]]]:
    """Claim, ask and tell until no trial is left, with scores by lot; strategy and configuration of each trial."""
    asked: dict[int, tuple[str, dict[str, Any]]] = {}
    with open_worker(study) as worker:
        batches = TrialBatches(worker)
        while batch := batches.next():
            assert len(batch) <= study.settings.population
            for each in batch:
                if not isinstance(each, AskedTrial):
                    worker.tell(each.trial, None, TrialState.FAIL)
                    continue
                values = flatten(each.planned.config)
                asked[each.trial.number] = each.strategy, values
                each.trial.set_user_attr(STARTED, {"config": values, "epochs": each.planned.epochs})
                pruned = False
                for epoch in range(min(3, each.planned.epochs)):
                    each.trial.report(float(rng.random()), epoch)
                    pruned = each.trial.should_prune()
                each.trial.set_user_attr(OUTCOME, {"seconds": float(rng.random())})
                state = TrialState.PRUNED if pruned else TrialState.COMPLETE
                worker.tell(each.trial, None if pruned else float(rng.random()), state)
    return asked


def test_valid_settings_run_to_their_end(studies: int, tmp_path: Path) -> None:
    units = tuple(f"unit{place}" for place in range(UNITS))
    facts = StudyFacts(("a", "b"), {"train": 90, "val": 30}, "", (), units, tuple(k / UNITS for k in range(UNITS + 1)))
    for number in range(studies):
        wanted = random_settings(number)
        assert wanted.trials
        assert StudySettings.model_validate_json(wanted.model_dump_json()) == wanted
        study = Study.create(wanted, facts, Workspace(tmp_path), None)
        asked = run(study, np.random.default_rng(number))
        trials = study.trials()
        assert [trial.number for trial in trials] == list(range(wanted.trials))
        assert {trial.state for trial in trials} <= {"complete", "pruned", "failed"}
        assert study.tickets.exhausted()
        # Every strategy has its floor, and every value is in its domain; a head sees what it can reach.
        assert {trial.strategy for trial in trials} == set(wanted.strategies)
        for strategy, values in asked.values():
            for name, domain in wanted.space.strategies[strategy].items():
                if name in values and not domain.when:
                    reached = name == "head.depths" and any(values[name] < each for each in domain.extremes)
                    assert reached or domain.contains(values[name]), (number, strategy, name, values[name])
        assert study.results().settings == wanted
        study.close()


def test_a_random_space_is_the_same_after_it_was_written(studies: int, tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    for number in range(5 * studies):
        space = create_space(random_tables(np.random.default_rng(1000 + number)))
        file.write_text(write_space(tables_of(space)), encoding="utf-8")
        assert read_space(file).strategies == space.strategies


# What is not


def change(tables: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    table: Any = tables
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return tables


RATE = ("full", "learning_rate")
# Each is wrong in itself: where, what, and what the message must name.
WRONG: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "unknown strategy": (("fulll",), {}, "fulll"),
    "unknown parameter": (("full", "learning_rates"), 0.1, "learning_rates"),
    "no table": (("full",), 7, "full"),
    "low above high": (RATE, {"low": 0.1, "high": 0.01}, "learning_rate"),
    "half a range": (RATE, {"low": 0.1}, "learning_rate"),
    "both kinds": (RATE, {"low": 0.1, "high": 0.2, "choices": [0.1]}, "learning_rate"),
    "no choices": (RATE, {"choices": []}, "learning_rate"),
    "a list": (RATE, [0.1, 0.2], "learning_rate"),
    "log from zero": (RATE, {"low": 0.0, "high": 0.1, "log": True}, "learning_rate"),
    "negative": (RATE, -0.1, "learning_rate"),
    "not a number": (RATE, math.nan, "learning_rate"),
    "up to not a number": (RATE, {"low": 1e-3, "high": math.nan}, "learning_rate"),
    "from not a number": (RATE, {"low": math.nan, "high": 0.1}, "learning_rate"),
    "infinite": (RATE, math.inf, "learning_rate"),
    "up to infinity": (RATE, {"low": 1e-3, "high": math.inf}, "learning_rate"),
    "a word": (RATE, "fast", "learning_rate"),
    "a table in a table": (RATE, {"low": {"low": 1}, "high": 2}, "learning_rate"),
    "an unknown key": (RATE, {"low": 0.1, "high": 0.2, "step": 0.01}, "step"),
    "default outside": (RATE, {"low": 0.1, "high": 0.2, "default": 0.3}, "learning_rate"),
    "default not a number": (RATE, {"low": 0.1, "high": 0.2, "default": math.nan}, "learning_rate"),
    "condition on nothing": (RATE, {"low": 0.1, "high": 0.2, "when": {"nothing": [1]}}, "nothing"),
    "condition of another kind": (RATE, {"low": 0.1, "high": 0.2, "when": 7}, "learning_rate"),
    "half an epoch": (("full", "epochs"), 2.5, "epochs"),
    "epochs up to a half": (("full", "epochs"), {"low": 1, "high": 2.5}, "epochs"),
    "no epochs": (("full", "epochs"), 0, "epochs"),
    "more epochs than fit": (("full", "epochs"), 10**400, "epochs"),
    "a date": (("full", "epochs"), date(2026, 1, 1), "epochs"),
    "too deep": (("partial",), {"freeze_depth": 10**6}, "freeze_depth"),
    "an unknown optimizer": (("full", "optimizer"), "adamm", "optimizer"),
    "a head that is none": (("full", "head"), {"pooling": "sum"}, "pooling"),
    "what it does not take": (("full", "freeze_depth"), 3, "freeze_depth"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_an_invalid_space_is_refused_with_a_message(what: str) -> None:
    path, value, named = WRONG[what]
    good = {"shared": {"epochs": 5}, "full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}
    resolve_space(create_space(copy.deepcopy(good)), UNITS)
    with pytest.raises(InvalidInputError) as refusal:
        resolve_space(create_space(change(copy.deepcopy(good), path, value)), UNITS)
    assert named in str(refusal.value)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
_KEYS = st.sampled_from(["low", "high", "choices", "log", "default", "when", "head", "epochs", "learning_rate", "x"])
_JUNK = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=8
)
_NAMES = ["learning_rate", "epochs", "batch_size", "optimizer", "freeze_depth", "head", "patience", "x"]
_TABLES = st.dictionaries(
    st.sampled_from(["shared", "full", "partial", "lp_ft", "feature_extraction", "x"]),
    st.dictionaries(st.sampled_from(_NAMES), _JUNK, max_size=4) | _JUNK,
    max_size=3,
)


def refused(make: Callable[[], object]) -> bool:
    """Whether something is refused, with a message; any other error is one of ours."""
    try:
        make()
    except InvalidInputError as error:
        said = error.faults
    else:
        return False
    assert said
    assert all(said)
    return True


def accepted_or_refused(make: Callable[[], Space]) -> None:
    """Never anything but a message; what is accepted can be drawn from."""
    found: list[Space] = []
    if refused(lambda: found.append(make())):
        return
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for strategy in found[0].strategies:
        # Values that contradict each other are refused, too.
        refused(lambda strategy=strategy: found[0].suggest(study.ask(), strategy))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(_TABLES)
def test_any_tables_are_a_space_or_refused(tables: dict[str, Any]) -> None:
    accepted_or_refused(lambda: resolve_space(create_space(tables), UNITS))


@pytest.mark.slow
@settings(max_examples=2000, derandomize=True, deadline=None)
@given(_TABLES)
def test_many_tables_are_a_space_or_refused(tables: dict[str, Any]) -> None:
    accepted_or_refused(lambda: resolve_space(create_space(tables), UNITS))


@pytest.mark.parametrize("count", [pytest.param(150, id="quick"), pytest.param(2000, marks=pytest.mark.slow)])
def test_a_damaged_study_file_is_one_or_refused(count: int, tmp_path: Path) -> None:
    before = len(unpickled())
    text = '[study]\ndata = "photos"\ntrials = 12\nstrategies = ["full"]\nseed = 3\nrace = false\n\n'
    good = (text + write_space({"shared": {"epochs": 5}, "full": {"learning_rate": 1e-3}})).encode()
    file = tmp_path / "study.toml"
    left_out = 0
    for _, content in mutations(good, [good], count, seed=7):
        file.write_bytes(content)
        left_out += refused(lambda: read_study(file).space())
    assert left_out > count / 3
    assert unpickled()[before:] == []
