"""The verdict as a plain record: what ``--json`` prints below ``verdict``, for Python and scripts alike."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ..analysis import Contender, Leaks, SearchGain, Selection, Verdict
from ..study import StudyResults

Interval = tuple[float, float]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TestRecord(_Record):
    """Test scores of a strategy, shares of 1.

    Attributes:
        mean: Mean over seeds.
        spread: Standard deviation over seeds.
        scores: Score of each seed.
        interval: Confidence interval of the mean alone.
    """

    mean: float
    spread: float
    scores: tuple[float, ...]
    interval: Interval


class ValidationRecord(_Record):
    """Validation scores of a strategy, shares of 1.

    Attributes:
        search: Score of its trial in the search: the highest.
        trials: Number of complete trials that it was the best of.
        mean: Mean score with fresh seeds.
    """

    search: float
    trials: int
    mean: float


class DefaultRecord(_Record):
    """A strategy's default configuration.

    Attributes:
        test: Mean test score.
        gain: By how much the finalist's is higher.
        interval: Confidence interval of the gain; None if the default is the finalist.
    """

    test: float
    gain: float
    interval: Interval | None


class ContenderRecord(_Record):
    """A strategy in the verdict.

    Attributes:
        strategy: Name of the strategy.
        trial: Number of the trial whose configuration was retrained.
        test: Test scores.
        metrics: All metrics on the test images, means over seeds.
        temperature: Mean temperature of its finals, by which logits are divided; None in older studies.
        calibrated_metrics: The metrics that calibration changes, calibrated.
        gap_to_leader: Mean test score of the leader minus its own; 0 for the leader.
        interval: Simultaneous confidence interval of the gap; None for the leader.
        tied: Whether it leads or may be as good as the leader.
        as_good: Whether the leader is unlikely to be better by more than the verdict's ``indifference``.
        validation: Validation scores.
        default: Its default configuration; None if that was not tested.
        probability_best: Probability that it is the best.
        seconds: Mean wall time of a training.
        device_seconds: Mean time of a training on its device; None, as the next two, for finals of older versions.
        latency: Median time of a forward pass of one image by the trained network, seconds.
        size_mb: Size of the trained network, 10^6 bytes.
        trainable_parameters: Number of parameters that train in the last phase.
    """

    strategy: str
    trial: int
    test: TestRecord
    metrics: dict[str, float]
    temperature: float | None
    calibrated_metrics: dict[str, float]
    gap_to_leader: float
    interval: Interval | None
    tied: bool
    as_good: bool
    validation: ValidationRecord
    default: DefaultRecord | None
    probability_best: float
    seconds: float
    device_seconds: float | None
    latency: float | None
    size_mb: float | None
    trainable_parameters: int


class RemedyRecord(_Record):
    """What would show that the leader is ahead, if its lead is real.

    Attributes:
        seeds: Number of seeds of each strategy; None where they alone would not, or where nothing is undecided.
        test_images: Number of test images; None likewise.
    """

    seeds: int | None
    test_images: int | None


class LeaksRecord(_Record):
    """Test images that training or validation images show too.

    Attributes:
        test_images: Their number.
        share: Their share of the test images.
        scores_without: Mean test score of each strategy without them.
    """

    test_images: int
    share: float
    scores_without: dict[str, float]


class VerdictRecord(_Record):
    """The answer of a study. Scores, gaps and intervals are shares of 1, times are seconds.

    Attributes:
        winner: Name of the recommended strategy.
        leader: Name of the strategy with the highest mean test score: the winner, or a dearer one that is unlikely to
            be better by more than ``indifference``.
        undecided: Whether others may be as good as the winner, and more than ``indifference`` better.
        would_decide: What would show that the leader is ahead.
        indifference: Difference of score that does not matter.
        metric: Name of the metric.
        test_images: Size of the test split.
        confidence: Joint confidence of all intervals.
        sentence: The verdict in words.
        classes_never_right: Classes of which the winner gets no test image right.
        leaks: Test images that are also among the training or validation images; None without any.
        contenders: All strategies by falling mean test score; those that left the race of the finals come last.
    """

    winner: str
    leader: str
    undecided: bool
    would_decide: RemedyRecord
    indifference: float
    metric: str
    test_images: int
    confidence: float
    sentence: str
    classes_never_right: tuple[str, ...]
    leaks: LeaksRecord | None
    contenders: tuple[ContenderRecord, ...]

    def __str__(self) -> str:
        return self.sentence

    def __getitem__(self, strategy: str) -> ContenderRecord:
        """Return a strategy of the verdict by its name.

        Raises:
            KeyError: The strategy is not in it.
        """
        for contender in self.contenders:
            if contender.strategy == strategy:
                return contender
        raise KeyError(
            f"{strategy!r} is not in the verdict, which has: {', '.join(c.strategy for c in self.contenders)}"
        )


def describe_verdict(results: StudyResults) -> VerdictRecord | None:
    """Return the verdict of a study as a record; None until its finals have ended."""
    verdict = results.verdict
    if verdict is None:
        return None
    return VerdictRecord(
        winner=verdict.winner.strategy,
        leader=verdict.leader.strategy,
        undecided=verdict.undecided,
        would_decide=RemedyRecord(seeds=verdict.remedy.seeds, test_images=verdict.remedy.test_images),
        indifference=verdict.indifference,
        metric=verdict.metric,
        test_images=verdict.test_images,
        confidence=verdict.confidence,
        sentence=verdict.sentence(),
        classes_never_right=tuple(results.never_right),
        leaks=None if verdict.leaks is None else _leaks(verdict.leaks),
        contenders=tuple(
            _contender(verdict, contender, chosen)
            for contender, chosen in zip(verdict.contenders, results.selection, strict=True)
        ),
    )


def _contender(verdict: Verdict, contender: Contender, chosen: Selection) -> ContenderRecord:
    return ContenderRecord(
        strategy=contender.strategy,
        trial=contender.trial_number,
        test=TestRecord(
            mean=contender.mean,
            spread=contender.spread,
            scores=contender.scores,
            interval=contender.score_interval,
        ),
        metrics=contender.metrics,
        temperature=contender.temperature,
        calibrated_metrics=contender.calibrated_metrics,
        gap_to_leader=contender.gap_to_leader,
        interval=contender.interval,
        tied=contender.tied,
        as_good=contender.as_good,
        validation=ValidationRecord(search=chosen.search_score, trials=chosen.tried, mean=chosen.val_mean),
        default=None if chosen.gain is None else _default(chosen.gain),
        probability_best=verdict.best_shares[contender.strategy],
        seconds=contender.seconds,
        device_seconds=contender.costs.device_seconds,
        latency=contender.costs.latency,
        size_mb=contender.costs.size_mb,
        trainable_parameters=contender.trainable_parameters,
    )


def _default(gain: SearchGain) -> DefaultRecord:
    return DefaultRecord(test=gain.default_test, gain=gain.points, interval=gain.interval)


def _leaks(leaks: Leaks) -> LeaksRecord:
    return LeaksRecord(test_images=leaks.images, share=leaks.share, scores_without=dict(leaks.scores))
