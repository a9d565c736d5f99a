"""What panels show against the records."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from frostline.dashboards.report.effect_panels import HEIGHT, MIN_FOR_MEDIAN, WIDTH, create_panels
from frostline.dashboards.report.effects import MIN_SHOWN, Effect, StrategyEffects, find_effects
from frostline.search.analysis.importance import MIN_TRIALS
from frostline.search.records import TrialRecord
from frostline.search.study.results import StudyResults


@pytest.fixture(scope="module")
def effects(many: StudyResults) -> list[StrategyEffects]:
    return find_effects(many)


def own_trials(results: StudyResults, strategy: str) -> list[TrialRecord]:
    return [trial for trial in results.trials if trial.strategy == strategy and trial.score is not None]


def effect(effects: list[StrategyEffects], strategy: str, name: str) -> Effect:
    own = next(own for own in effects if own.strategy == strategy)
    return next(effect for effect in own.effects if effect.name == name)


def test_every_searched_parameter_of_every_strategy_is_there(effects: list[StrategyEffects]) -> None:
    shared = {"learning_rate", "head.pooling", "optimizer"}
    found = {own.strategy: {effect.name for effect in own.effects} for own in effects}
    assert found == {
        "feature_extraction": shared,
        "partial": shared | {"freeze_depth"},
        "full": shared,
        "lp_ft": shared | {"freeze_depth"},
        "scratch": shared,
    }


def test_points_are_the_trials_along_the_domain(many: StudyResults, effects: list[StrategyEffects]) -> None:
    drawn = {point.number: point for point in effect(effects, "full", "learning_rate").points}
    trials = own_trials(many, "full")
    assert drawn.keys() == {trial.number for trial in trials}
    for trial in trials:
        point = drawn[trial.number]
        assert 1e-4 * 100**point.place == pytest.approx(trial.config["learning_rate"])
        assert (point.score, point.pruned) == (pytest.approx(100 * (trial.score or 0)), trial.state == "pruned")


def test_medians_are_those_of_complete_trials(many: StudyResults, effects: list[StrategyEffects]) -> None:
    trials = [trial for trial in own_trials(many, "partial") if trial.state == "complete"]
    for group in effect(effects, "partial", "head.pooling").groups:
        scores = [trial.score or 0 for trial in trials if trial.config["head.pooling"] == group.label]
        assert (group.trials, group.median) == (len(scores), pytest.approx(100 * np.median(scores)))
    low, middle, high = effect(effects, "partial", "learning_rate").groups
    edges = [1e-4, 10 ** (-4 + 2 / 3), 10 ** (-4 + 4 / 3), 1e-2]
    for group, start, end in zip((low, middle, high), edges, edges[1:], strict=False):
        scores = [trial.score or 0 for trial in trials if start <= trial.config["learning_rate"] < end]
        assert (group.trials, group.median) == (len(scores), pytest.approx(100 * np.median(scores)))


def test_few_trials_are_not_shown_and_explain_nothing(results: StudyResults, effects: list[StrategyEffects]) -> None:
    assert max(summary.complete for summary in results.summaries) < MIN_SHOWN
    assert find_effects(results) == []
    trials = own_trials(results, "partial") * 3
    some = tuple(replace(trial, number=number, state="complete") for number, trial in enumerate(trials))
    (own,) = find_effects(replace(results, trials=some))
    assert MIN_SHOWN <= own.complete < MIN_TRIALS
    assert all(effect.explained is None for effect in own.effects)
    assert own.effects[0].name == "freeze_depth"
    assert all(effect.explained is not None for own in effects for effect in own.effects)


def test_the_most_telling_comes_first(effects: list[StrategyEffects]) -> None:
    for own in effects:
        shares = [effect.explained or 0.0 for effect in own.effects]
        assert shares == sorted(shares, reverse=True)


def test_a_panel_draws_each_trial_at_its_place_and_score(many: StudyResults, effects: list[StrategyEffects]) -> None:
    own = next(own for own in effects if own.strategy == "lp_ft")
    (group,) = create_panels([own])
    place = [effect.name for effect in own.effects].index("learning_rate")
    svg = ElementTree.fromstring(group.panels[place].svg)
    # The axes give the scales, as a reader would take them.
    texts = list(svg.iter("text"))[:3]
    (low_y, low), _, (high_y, high) = ((float(text.get("y", 0)) - 4, float(text.text or 0)) for text in texts)
    axis = next(path for path in svg.iter("path") if path.get("class") == "axis").get("d", "")
    left, right = float(axis[1:].split()[0]), float(axis.split("H")[1])
    read = [
        (-4 + 2 * (float(x) - left) / (right - left), low + (low_y - float(y)) / (low_y - high_y) * (high - low))
        for path in svg.iter("path")
        if path.get("class") in ("dots", "pruned")
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", path.get("d", ""))
    ]
    trials = own_trials(many, "lp_ft")
    assert len(read) == len(trials)
    for trial in trials:
        true = math.log10(trial.config["learning_rate"]), 100 * (trial.score or 0)
        # To half a pixel.
        assert any(abs(x - true[0]) < 1.1 / (right - left) and abs(y - true[1]) < 0.2 for x, y in read)


def test_panels_stay_in_their_frame_and_say_what_they_show(effects: list[StrategyEffects]) -> None:
    for group in create_panels(effects):
        for panel in group.panels:
            svg = ElementTree.fromstring(panel.svg)
            assert svg.get("role") == "img"
            assert svg.get("aria-label") == panel.words
            for path in svg.iter("path"):
                for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path.get("d", "")):
                    assert 0 <= float(x) <= WIDTH
                    assert 0 <= float(y) <= HEIGHT


def test_a_median_of_one_or_two_is_not_drawn(many: StudyResults) -> None:
    trials = own_trials(many, "scratch")
    others = [trial for trial in trials if trial.config["optimizer"] == "adamw" and trial.state == "complete"]
    few = [trial for trial in trials if trial.config["optimizer"] == "sgd" and trial.state == "complete"]
    chosen = tuple(others[:10] + few[: MIN_FOR_MEDIAN - 1])
    (group,) = create_panels(find_effects(replace(many, trials=chosen)))
    panel = next(panel for panel in group.panels if panel.name == "optimizer")
    assert panel.svg.count('class="median"') == 1
    assert f"({MIN_FOR_MEDIAN - 1})" in panel.words
