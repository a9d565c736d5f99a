"""What more images would gain: scipy's fit, known curves, what is refused, and how often intervals hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from frostline.objectives.metrics import one_hot
from frostline.search.analysis.projection import FARTHEST, MULTIPLES, fit_power_law, project
from frostline.search.records import FinalRecord

SIZES = np.array([50, 100, 200, 400])
LABELS = np.arange(1000) % 2


def law(sizes: np.ndarray, offset: float, left: float, exponent: float) -> np.ndarray:
    return offset + left * (sizes / 400) ** -exponent


def trainings(errors: list[float], seeds: int = 4, sizes: np.ndarray = SIZES) -> list[tuple[int, list[FinalRecord]]]:
    """Trainings that err on so many test images, each seed on others."""
    found = []
    for images, error in zip(sizes.tolist(), errors, strict=True):
        group = []
        for seed in range(seeds):
            wrong = np.roll(np.arange(1000) < round(1000 * error), 17 * seed)
            probabilities = one_hot(np.where(wrong, 1 - LABELS, LABELS), 2)
            group.append(FinalRecord("full", 0, seed, 0.5, 1 - error, 1.0, 9, LABELS, probabilities))
        found.append((images, group))
    return found


@pytest.mark.parametrize(("offset", "left", "exponent"), [(0.05, 0.1, 0.5), (0.0, 0.2, 0.2), (0.2, 0.05, 1.0)])
def test_of_exact_points_it_is_scipys_fit_and_the_truth(offset: float, left: float, exponent: float) -> None:
    sizes = np.array([25, 50, 100, 200, 400])
    errors = law(sizes, offset, left, exponent)
    (_, a, b), _ = curve_fit(law, sizes, errors, p0=(0.1, 0.1, 0.4), bounds=(0, (1, 1, 3)))
    found = fit_power_law(sizes, errors, 1e-6 * np.eye(5))
    assert found is not None
    for multiple, (low, middle, high) in zip(MULTIPLES, found, strict=True):
        truth = left * (1 - multiple**-exponent)
        assert a * (1 - multiple**-b) == pytest.approx(truth, abs=1e-4)
        # The grid of exponents is this fine.
        assert low - 2e-4 <= truth <= high + 2e-4
        assert middle == pytest.approx(truth, abs=0.004)
        assert high - low < 0.03


def test_more_images_are_said_with_their_gain() -> None:
    projection = project("full", trainings([0.4, 0.3, 0.23, 0.18]), "accuracy", seed=0)
    assert [gain.images for gain in projection.gains] == [600, 800, 1600]
    assert projection.gains[-1].images == FARTHEST * 400
    _, double, most = projection.gains
    # The errors fall by 0.1, 0.07 and 0.05: the next step may be 0.035.
    assert double.interval[0] < 0.035 < double.interval[1]
    assert 0 < double.gain < most.gain < 0.18
    said = projection.sentence()
    assert said.startswith(f"About 400 more training images would gain full {100 * double.gain:.1f} points [")
    assert f", and 1,200 more {100 * most.gain:.1f} [" in said


def test_on_a_plateau_more_images_gain_little() -> None:
    projection = project("full", trainings([0.26, 0.22, 0.205, 0.2], seeds=8), "accuracy", seed=0)
    assert projection.gains
    assert projection.gains[-1].gain < 0.03


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([0.4, 0.3, 0.2], "3 sizes are too few (at least 4; add some with --sizes)"),
        ([0.4, 0.15, 0.35, 0.1], "its score falls from 100 to 200 images"),
        # A step: nothing, then all at once.
        ([0.4, 0.4, 0.4, 0.05], "its scores do not follow a power law"),
    ],
)
def test_what_is_no_power_law_is_not_projected(errors: list[float], reason: str) -> None:
    sizes = SIZES[-len(errors) :]
    projection = project("full", trainings(errors, seeds=8, sizes=sizes), "accuracy", seed=0)
    assert projection.gains == ()
    assert projection.sentence() == f"No gain of more images is projected for full: {reason}."


LAWS = [(0.0, 0.15, 0.15), (0.0, 0.15, 0.5), (0.1, 0.2, 0.15), (0.1, 0.2, 0.5), (0.19, 0.01, 1.0)]
# Without an offset and with one, of few images and of many.
QUICK = {(120, *LAWS[0]), (1000, *LAWS[3])}


@pytest.mark.parametrize(
    ("images", "offset", "left", "exponent"),
    [
        pytest.param(images, *law, marks=[] if (images, *law) in QUICK else [pytest.mark.slow])
        for images in (120, 1000)
        for law in LAWS
    ],
)
def test_intervals_of_95_percent_cover_the_true_gain(
    images: int, offset: float, left: float, exponent: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Curves with known truth; images are hard or easy for all sizes, seeds differ by 1 or 2 points."""
    rng, spread, seeds = np.random.default_rng(0), 0.02 if images == 120 else 0.01, 4
    true = law(SIZES, offset, left, exponent)
    error = np.sqrt(true * (1 - true) / images)
    covariance = np.outer(error, error) * (0.5 + 0.5 * np.eye(4)) + np.eye(4) * spread**2 / seeds
    held, fitted = np.zeros(len(MULTIPLES)), 0
    for _ in range(150):
        found = fit_power_law(SIZES, rng.multivariate_normal(true, covariance), covariance)
        if found is None:
            continue
        fitted += 1
        held += [
            low <= left * (1 - multiple**-exponent) <= high
            for multiple, (low, _, high) in zip(MULTIPLES, found, strict=True)
        ]
    with capsys.disabled():
        print(
            f"\n{images} test images, {offset} + {left} n^-{exponent}: covered {held / fitted}, {150 - fitted} refused"
        )
    assert fitted >= 130
    # 95 %, less two standard errors of so few simulations.
    assert (held / fitted >= 0.915).all()
