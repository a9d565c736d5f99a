"""Truncate and probe: what a linear head scores after each unit of the pretrained network, and what that costs.

The smaller network is chosen on validation images: the smallest that loses no more than what does not matter there. The
test images, by which nothing was chosen, then tell whether it is as good as the whole network, with one interval. Few
validation images may choose badly. So if that one is not as good, the smallest is named that the test images prove to
be, with intervals that hold for all cuts at once (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...objectives.metrics import score, weighted
from .comparison import CONFIDENCE, UNLIKELY, Interval, central_interval
from .score_draws import draw_scores, draws_of

if TYPE_CHECKING:
    from ...objectives.cut_probes import CutProbe


@dataclass(frozen=True)
class Cut:
    """The network up to a unit, with a linear head.

    Attributes:
        units: Number of units that are left.
        unit: Name of the last one.
        parameters: Number of parameters.
        size: Size of parameters and buffers, bytes.
        latency: Median time of a forward pass of one image, seconds.
        batch_latency: The same of a batch.
        val_score: Validation score, in [0, 1].
        test_score: Test score, in [0, 1].
        interval: Confidence interval of the test score.
        difference: Test score minus that of the whole network; 0 for the whole.
        difference_interval: Confidence interval of ``difference``.
        joint_interval: Confidence interval of ``difference`` that holds for all cuts at once.
        likely_behind: By how much the whole is better at most, with a probability of 1 - :data:`UNLIKELY`.
    """

    units: int
    unit: str
    parameters: int
    size: int
    latency: float
    batch_latency: float
    val_score: float
    test_score: float
    interval: Interval
    difference: float
    difference_interval: Interval
    joint_interval: Interval
    likely_behind: float


@dataclass(frozen=True)
class Truncation:
    """What each cut of the pretrained network scores and costs.

    Attributes:
        metric: Name of the metric.
        cuts: The cuts from the first unit to the whole network.
        test_images: Number of test images.
        indifference: Difference of score that does not matter.
        batch: Number of images of :attr:`Cut.batch_latency`.
        device: Device on which latency was measured, in words.
        confidence: Confidence of each interval.
    """

    metric: str
    cuts: tuple[Cut, ...]
    test_images: int
    indifference: float
    batch: int
    device: str
    confidence: float = CONFIDENCE

    @property
    def whole(self) -> Cut:
        """Return the cut after the last unit."""
        return self.cuts[-1]

    @property
    def smaller(self) -> Cut | None:
        """Return the smaller network that is named; None if there is none."""
        chosen = self.chosen
        if chosen is not None and self._is_as_good(chosen):
            return chosen
        return self.proven or (None if chosen is None or chosen.difference_interval[1] < 0 else chosen)

    @property
    def chosen(self) -> Cut | None:
        """Return the smallest cut that is as good on validation images; None if only the whole network is."""
        least = self.whole.val_score - self.indifference
        # Not by equality: scores are sums of shares.
        return next((cut for cut in self.cuts[:-1] if cut.val_score >= least - 1e-9), None)

    @property
    def proven(self) -> Cut | None:
        """Return the smallest cut that test images prove to be as good, for all cuts at once; None without any."""
        return next((cut for cut in self.cuts[:-1] if cut.joint_interval[0] >= -self.indifference), None)

    def _is_as_good(self, cut: Cut) -> bool:
        return cut.likely_behind <= self.indifference

    @property
    def best(self) -> Cut:
        """Return the cut with the highest validation score; of equals, the smallest."""
        return max(self.cuts, key=lambda cut: cut.val_score)

    @property
    def confirmed(self) -> bool:
        """Return whether the whole network is unlikely to be better than the smaller one by more than what matters."""
        return self.smaller is not None and self._is_as_good(self.smaller)

    def ratios(self, cut: Cut) -> tuple[float, float]:
        """Return latency (of one image) and size of a cut, as multiples of those of the whole network."""
        return cut.latency / max(self.whole.latency, 1e-12), cut.size / self.whole.size

    def sentence(self) -> str:
        """Return which smaller network is as good, and which is the best, in one or two sentences."""
        return f"{self._smaller_sentence()} {self._best_sentence()}".strip()

    def _best_sentence(self) -> str:
        """Say which cut is the best, if that matters and was not said."""
        best = self.best
        if best is self.smaller or best.val_score <= self.whole.val_score + self.indifference:
            return ""
        return f"On the validation images, the first {best.units} units are the best {self._gap(best)}."

    def _gap(self, cut: Cut) -> str:
        by_validation = cut in (self.chosen, self.best)
        low, high = cut.difference_interval if by_validation else cut.joint_interval
        joint = "" if by_validation else ", for all cuts at once"
        return f"({_signed(cut.difference)} points [{_signed(low)}, {_signed(high)}] on the test images{joint})"

    def _smaller_sentence(self) -> str:
        cut = self.smaller
        if cut is None:
            return self._none_sentence()
        low = (cut.difference_interval if cut is self.chosen else cut.joint_interval)[0]
        gap, first = self._gap(cut), self._first(cut)
        time, size = self.ratios(cut)
        cost = f"at {time:.2g}x the latency and {size:.2g}x the size"
        if low > 0:
            return f"With a linear head, {first} better than all {gap}, {cost}."
        if self.confirmed:
            return f"With a linear head, {first} as good as all {gap}, {cost}."
        return (
            f"With a linear head, {first} as good as all on the validation images, {cost}; {self.test_images:,} test "
            f"images cannot tell {gap}."
        )

    def _none_sentence(self) -> str:
        if self.chosen is None:
            points = f"{100 * self.indifference:g} point{'' if self.indifference == 0.01 else 's'}"
            return (
                "No smaller network is as good: on the validation images, a linear head on fewer than all "
                f"{len(self.cuts)} units always loses more than {points}."
            )
        return (
            f"No smaller network is named: {self._first(self.chosen)} as good as all on the validation images, but not "
            f"on the test images {self._gap(self.chosen)}."
        )

    def _first(self, cut: Cut) -> str:
        units = f"of {len(self.cuts)} units"
        return f"the first {cut.units} {units} are" if cut.units > 1 else f"the first {units} is"

    def to_row(self) -> dict[str, Any]:
        """Return the plain values to keep in the database."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Truncation:
        """Return what :meth:`to_row` gave."""
        pairs = ("interval", "difference_interval", "joint_interval")
        cuts = tuple(Cut(**{**cut, **{name: tuple(cut[name]) for name in pairs}}) for cut in row["cuts"])
        return cls(**{**row, "cuts": cuts})


def compare_cuts(
    probes: Sequence[CutProbe],
    val_labels: NDArray[np.int64],
    test_labels: NDArray[np.int64],
    metric: str,
    *,
    indifference: float,
    batch: int,
    device: str,
    seed: int = 0,
) -> Truncation:
    """Score the probes on validation and test images, and compare each with that of the whole network, which is last.

    Intervals are for new test images. They leave the probes as they are: their fit is exact, so seeds do not matter.

    Args:
        probes: Probes after each unit, the first unit first.
        val_labels: Classes of the validation images (V,).
        test_labels: Classes of the test images (N,).
        metric: Name of a metric that a study can maximize.
        indifference: Difference of score that does not matter.
        batch: Number of images of the probes' ``batch_latency``.
        device: Device of the probes' latencies, in words.
        seed: Seed of the draws.
    """
    scores = [[weighted(metric, probe.test_probabilities, test_labels)] for probe in probes]
    drawn = draw_scores(scores, test_labels, seed=seed, draws=draws_of(metric))
    draws, means = drawn.means + drawn.images, drawn.means
    ahead = draws - draws[:, -1:]
    cuts = tuple(
        Cut(
            units=place + 1,
            unit=probe.unit,
            parameters=probe.parameters,
            size=probe.size,
            latency=probe.latency,
            batch_latency=probe.batch_latency,
            val_score=score(metric, probe.val_probabilities, val_labels),
            test_score=float(means[place]),
            interval=central_interval(np.clip(draws[:, place], 0, 1), 1),
            difference=float(means[place] - means[-1]),
            difference_interval=central_interval(ahead[:, place], 1),
            joint_interval=central_interval(ahead[:, place], len(probes) - 1),
            likely_behind=float(np.quantile(-ahead[:, place], 1 - UNLIKELY)),
        )
        for place, probe in enumerate(probes)
    )
    return Truncation(metric, cuts, len(test_labels), indifference, batch, device)


def _signed(share: float) -> str:
    """Return a difference in points, with its sign.

    >>> _signed(-0.003), _signed(0.009), _signed(0.0)
    ('−0.3', '+0.9', '0.0')
    """
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
