"""The results of a study, as immutable records for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ...objectives.data import DataFaults
from ..analysis import (
    Comparing,
    CurveRecord,
    DataCurve,
    Verdict,
    compare,
    errors_of,
    measure_leaks,
    reach_verdict,
    trace_curve,
)
from ..records import FinalRecord, FinalScores, StrategySummary, TrialRecord, summarize
from .settings import StudySettings


@dataclass(frozen=True)
class StudyFacts:
    """Facts about data and backbone, recorded when the study starts.

    Attributes:
        classes: Names of the classes.
        counts: Numbers of images by split.
        fingerprint: Fingerprint of the images and labels.
        skipped: Files that were left out, with the reason.
        units: Names of the backbone's units, from the input.
        frozen_flops: Share of the forward FLOPs before each depth 0..n.
        notes: Warnings about the weights, such as layers missing from the file.
        class_counts: Numbers of images by split and class; empty in older studies.
        weights: Hash of the backbone's initial weights; empty in older studies.
        code: Fingerprints of space, code and libraries; empty in older studies.
        forked_from: Name of the study whose settings this one took over.
    """

    classes: tuple[str, ...]
    counts: dict[str, int]
    fingerprint: str
    skipped: tuple[tuple[str, str], ...]
    units: tuple[str, ...]
    frozen_flops: tuple[float, ...]
    notes: tuple[str, ...] = ()
    class_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    weights: str = ""
    code: dict[str, str] = field(default_factory=dict)
    forked_from: str = ""


@dataclass(frozen=True)
class StudyResults:
    """A study as it stands.

    Attributes:
        settings: What it asks.
        facts: Of its data and backbone.
        trials: All, by number.
        finals: Those of the present finalists.
        device: Where it last ran, in words.
        versions: Of the libraries it last ran with.
        trainings: Those of the present finalists on part of the training images.
        comparing: Compares the finals; by default by resampling each time.
        data_faults: Faults of the data; None if they were not looked for.
    """

    settings: StudySettings
    facts: StudyFacts
    trials: tuple[TrialRecord, ...]
    finals: tuple[FinalRecord, ...]
    device: str
    versions: dict[str, str]
    trainings: tuple[CurveRecord, ...] = ()
    comparing: Comparing = compare
    data_faults: DataFaults | None = None

    @cached_property
    def verdict(self) -> Verdict | None:
        """Return the verdict; None until every finalist was trained with every seed."""
        if not self.decided:
            return None
        reached = reach_verdict(self.finals, self.settings.metric, comparing=self.comparing)
        leaked = self.data_faults.leaked_test if self.data_faults else ()
        return replace(reached, leaks=measure_leaks(self.finals, self.settings.metric, leaked))

    @cached_property
    def never_right(self) -> list[str]:
        """Return the classes of which the recommended strategy gets no test image right, with any seed."""
        if self.verdict is None:
            return []
        return errors_of(self.verdict.winner.finals, self.facts.classes).confusion.never_right

    @property
    def decided(self) -> bool:
        """Return whether all finals are done; unlike the verdict, this needs no resampling."""
        return bool(self.finals) and is_decided(self.settings, self.trials, self.finals)

    @cached_property
    def curve(self) -> DataCurve | None:
        """Return the data-size curve, with the finals as its scores on all images; None if it was not run."""
        if not self.trainings or not self.finals:
            return None
        full = [CurveRecord(self.facts.counts["train"], final) for final in self.finals]
        return trace_curve([*self.trainings, *full], self.settings.metric, self.settings.strategies)

    @property
    def summaries(self) -> list[StrategySummary]:
        """Return one summary per strategy."""
        return summarize(self.trials, self.settings.strategies)


def is_decided(settings: StudySettings, trials: Sequence[TrialRecord], finals: Sequence[FinalScores]) -> bool:
    """Return whether every finalist was trained with every seed."""
    due = {summary.strategy for summary in summarize(trials, settings.strategies) if summary.best is not None}
    count = Counter(final.strategy for final in finals)
    return all(count[strategy] >= settings.finals_seeds for strategy in due)
