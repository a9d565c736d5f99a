"""The rule of thumb: the four quarters of the textbook and what lies between, outcomes, and counts over studies."""

from __future__ import annotations

import numpy as np
import pytest

from frostline.objectives.data import Nearness, class_separation
from frostline.objectives.metrics import one_hot
from frostline.search.analysis import Verdict, advise, count_outcomes, reach_verdict
from frostline.search.records import FinalRecord

# The share of errors that pretraining removes: 80, 40 and 10 %.
DOMAINS = {"near": Nearness(0.9, 0.5), "middling": Nearness(0.7, 0.5), "far": Nearness(0.55, 0.5)}
LABELS = np.arange(400) % 2


def verdict_of(**right: int) -> Verdict:
    finals = []
    for strategy, number in right.items():
        for seed in range(4):
            hit = np.arange(400) < number
            probabilities = one_hot(np.where(hit, LABELS, 1 - LABELS), 2)
            seconds = 1.0 if strategy == "feature_extraction" else 9.0
            finals.append(FinalRecord(strategy, 0, seed, 0.5, number / 400, seconds, 9, LABELS, probabilities))
    return reach_verdict(finals, "accuracy")


@pytest.mark.parametrize(
    ("images", "domain", "strategy"),
    [
        (99, "near", "feature_extraction"),
        (99, "far", "feature_extraction"),
        (1000, "near", "full"),
        (1000, "far", "feature_extraction"),
        (1000, "middling", "lp_ft"),
        (100, "near", "lp_ft"),
        (999, "middling", "lp_ft"),
    ],
)
def test_the_advice_follows_size_and_nearness(images: int, domain: str, strategy: str) -> None:
    advice = advise(10 * images, 10, DOMAINS[domain], None)
    assert advice is not None
    assert (advice.domain, advice.strategy, advice.outcome) == (domain, strategy, None)
    assert f"The textbook advises {strategy} for " in advice.sentence()
    assert f"({images:,} training images a class) from a {domain} domain" in advice.sentence()


def test_without_a_measure_there_is_no_advice() -> None:
    assert advise(100, 2, None, None) is None
    assert advise(100, 2, Nearness(reason="--no-audit"), None) is None


def test_the_outcome_is_that_of_the_verdict() -> None:
    def outcome(images: int, **right: int) -> tuple[str | None, str]:
        advice = advise(images, 2, DOMAINS["near"], verdict_of(**right))
        assert advice is not None
        return advice.outcome, advice.sentence()

    assert outcome(20, feature_extraction=380, full=200)[0] == "winner"
    behind, said = outcome(20, feature_extraction=200, full=380)
    assert behind == "behind"
    assert said.endswith("It is 45.0 points behind the leader.")
    tied, said = outcome(5000, feature_extraction=384, full=380)
    assert (tied, said.endswith("It tied: 1.0 points behind the leader.")) == ("tie", True)
    absent, said = outcome(600, feature_extraction=200, full=380)
    assert (absent, said.endswith("It was not among the strategies.")) == ("absent", True)


def test_outcomes_are_counted_over_finished_studies() -> None:
    near = DOMAINS["near"]
    good, bad = verdict_of(feature_extraction=380, full=200), verdict_of(feature_extraction=200, full=380)
    small = [advise(20, 2, near, verdict) for verdict in (good, bad, bad, None)]
    absent = advise(600, 2, near, good)
    assert count_outcomes([*small, absent, None]) == (
        "Of 3 finished studies with such advice, the advised strategy was the recommended one in 1, tied in 0 and was "
        "behind in 2."
    )
    assert count_outcomes([None, absent]) == ""


def test_separation_is_the_share_of_variance_between_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    means = rng.normal(size=(3, 5))
    features = means[labels] + rng.normal(size=(300, 5))
    expected = []
    for column in features.T:
        within = sum(((column[labels == label] - column[labels == label].mean()) ** 2).sum() for label in range(3))
        expected.append(1 - within / ((column - column.mean()) ** 2).sum())
    assert class_separation(features, labels) == pytest.approx(np.mean(expected))
    # A feature that does not vary says nothing; what is far from 0, as little.
    assert class_separation(np.concatenate([1000 + 5 * features, np.ones((300, 2))], axis=1), labels) == pytest.approx(
        np.mean(expected)
    )
    assert class_separation(np.ones((4, 2)), np.arange(4) % 2) == 0
