"""Variance explained against closed forms of additive functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from frostline.search.analysis.importance import MIN_TRIALS, explained_variance
from frostline.search.records import TrialRecord
from frostline.search.space.space import Domain

DOMAINS = {
    "warmup": Domain(low=0.0, high=1.0),
    "learning_rate": Domain(low=1e-4, high=1e-1, log=True),
    "head.pooling": Domain(choices=("avg", "max")),
}
Draw = dict[str, object]


def make_trials(n: int, score: Callable[[Draw], float]) -> list[TrialRecord]:
    rng = np.random.default_rng(0)
    trials = []
    for number in range(n):
        config: Draw = {
            "warmup": float(rng.uniform()),
            "learning_rate": float(10 ** rng.uniform(-4, -1)),
            "head.pooling": str(rng.choice(["avg", "max"])),
        }
        trials.append(TrialRecord(number, "complete", "full", config, score(config)))
    return trials


def additive(config: Draw) -> float:
    """Uniform on [0, 1] times 0.6, and times 0.3 on the logarithm: variances as 4 to 1."""
    place = (math.log10(float(str(config["learning_rate"]))) + 4) / 3
    return 0.6 * place + 0.3 * float(str(config["warmup"]))


def test_parts_of_a_sum_explain_their_variances() -> None:
    shares = explained_variance(make_trials(400, additive), DOMAINS)
    assert shares["learning_rate"] == pytest.approx(0.8, abs=0.06)
    assert shares["warmup"] == pytest.approx(0.2, abs=0.06)
    assert shares["head.pooling"] < 0.02
    assert sum(shares.values()) <= 1.02


def test_what_only_a_choice_decides_the_choice_explains() -> None:
    shares = explained_variance(
        make_trials(60, lambda config: 0.9 if config["head.pooling"] == "avg" else 0.7), DOMAINS
    )
    assert shares["head.pooling"] == pytest.approx(1.0, abs=0.01)


def test_noise_explains_nothing() -> None:
    rng = np.random.default_rng(1)
    for n in (MIN_TRIALS, 60, 300):
        shares = explained_variance(make_trials(n, lambda _: float(rng.normal(0.8, 0.05))), DOMAINS)
        assert sum(shares.values()) < 0.05


def test_of_half_noise_no_more_than_half_is_explained() -> None:
    """A uniform part of variance 1/12, and noise of the same variance."""
    rng = np.random.default_rng(2)
    trials = make_trials(400, lambda config: float(str(config["warmup"])) + float(rng.normal(0, (1 / 12) ** 0.5)))
    assert 0.25 < explained_variance(trials, DOMAINS)["warmup"] < 0.5


def test_few_trials_and_equal_scores_explain_nothing() -> None:
    assert explained_variance(make_trials(MIN_TRIALS - 1, additive), DOMAINS) == {}
    assert explained_variance(make_trials(60, lambda _: 0.5), DOMAINS) == {}
    pruned = [TrialRecord(t.number, "pruned", t.strategy, t.config, t.score) for t in make_trials(60, additive)]
    assert explained_variance(pruned, DOMAINS) == {}


def test_constants_and_what_not_every_trial_has_are_left_out() -> None:
    domains = DOMAINS | {"epochs": Domain(choices=(5,)), "head.width": Domain(low=64, high=256)}
    trials = make_trials(40, additive)
    trials[0].config["head.width"] = 128
    assert set(explained_variance(trials, domains)) == set(DOMAINS)
