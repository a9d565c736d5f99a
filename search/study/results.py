"""The results of a study, as immutable records for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ...objectives.data import DataFaults, Nearness
from ...storage.database import RUN
from ..analysis import (
    Advice,
    Comparing,
    CurveRecord,
    DataCurve,
    Race,
    Selection,
    Truncation,
    Verdict,
    advise,
    compare,
    errors_of,
    examine_selection,
    find_warnings,
    measure_leaks,
    run_race,
    trace_curve,
)
from ..records import FinalRecord, FinalScores, StrategySummary, TrialRecord, finished, summarize
from .finalists import finalist_name
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
        race_ended: Names of the finalists of the last race that ended.
        comparing: Compares the finals; by default by resampling each time.
        data_faults: Faults of the data; None if they were not looked for.
        truncation: What the cuts of the pretrained network score and cost; None if they were not probed.
        nearness: Nearness of the data to those of the pretraining; None in older studies.
        workers: Number of workers that hold a trial or final.
        running_finals: Number of finals that they train.
        wish: Desired state of the workers: run, pause or stop.
    """

    settings: StudySettings
    facts: StudyFacts
    trials: tuple[TrialRecord, ...]
    finals: tuple[FinalRecord, ...]
    device: str
    versions: dict[str, str]
    trainings: tuple[CurveRecord, ...] = ()
    race_ended: tuple[str, ...] = ()
    comparing: Comparing = compare
    data_faults: DataFaults | None = None
    truncation: Truncation | None = None
    nearness: Nearness | None = None
    workers: int = 0
    running_finals: int = 0
    wish: str = RUN

    @property
    def state(self) -> str:
        """Return what is missing: trials, finals, or nothing (finished)."""
        if finished(self.trials) < self.settings.trials:
            return "trials"
        return "finished" if self.decided else "finals"

    @property
    def missing_finals(self) -> int | None:
        """Return how many finals the present round of the race lacks; None while trials are missing."""
        if self.state != "finals":
            return None if self.state == "trials" else 0
        count = Counter(final.strategy for final in self.finals)
        return sum(needed - count[strategy] for strategy, needed in self.race.needed.items())

    @cached_property
    def race(self) -> Race:
        """Return the race of the finals as it stands."""
        finalists = [summary.strategy for summary in self.summaries if summary.best is not None]
        settings = self.settings
        return run_race(self.finals, finalists, settings.metric, settings.race_rules, comparing=self.comparing)

    @cached_property
    def verdict(self) -> Verdict | None:
        """Return the verdict; None until the race of the finals has ended."""
        reached = self.race.verdict if self.decided else None
        if reached is None:
            return None
        leaked = self.data_faults.leaked_test if self.data_faults else ()
        return replace(reached, leaks=measure_leaks(self.finals, self.settings.metric, leaked))

    @cached_property
    def never_right(self) -> list[str]:
        """Return the classes of which the recommended strategy gets no test image right, with any seed."""
        if self.verdict is None:
            return []
        return errors_of(self.verdict.winner.finals, self.facts.classes).confusion.never_right

    @property
    def selection(self) -> tuple[Selection, ...]:
        """Return what choosing added to the finalists' scores; nothing before the verdict."""
        return () if self.verdict is None else examine_selection(self.verdict, self.trials)

    @property
    def textbook(self) -> Advice | None:
        """Return the textbook's advice and what became of it; None if the data's nearness was not measured."""
        images, classes = self.facts.counts["train"], len(self.facts.classes)
        return advise(images, classes, self.nearness, self.verdict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a reader of the verdict must know besides it; nothing before the verdict."""
        return () if self.verdict is None else find_warnings(self.verdict, self.trials, self.settings.strategies)

    @property
    def decided(self) -> bool:
        """Return whether all finals are done; unlike the verdict, this needs no resampling."""
        return bool(self.finals) and is_decided(self.settings, self.trials, self.finals, self.race_ended)

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


def is_decided(
    settings: StudySettings, trials: Sequence[TrialRecord], finals: Sequence[FinalScores], race_ended: Sequence[str]
) -> bool:
    """Return whether the race of these finalists has ended, or every one was trained with every seed.

    Args:
        settings: Settings of the study.
        trials: Trials of the study.
        finals: Finals of the present finalists.
        race_ended: Names of the finalists of the last race that ended.
    """
    best = [summary.best for summary in summarize(trials, settings.strategies) if summary.best is not None]
    if {finalist_name(str(trial.strategy), trial.number) for trial in best} == set(race_ended):
        return True
    count = Counter(final.strategy for final in finals)
    return all(count[str(trial.strategy)] >= settings.finals_seeds for trial in best)
