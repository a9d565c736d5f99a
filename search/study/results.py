"""The results of a study, as immutable records for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...objectives.data import DataFaults, Nearness
from ...objectives.speed import SpeedProbe
from ...storage.database import RUN
from ..analysis import (
    Advice,
    Comparing,
    CurveRecord,
    DataCurve,
    ModelStock,
    Race,
    RaceCosts,
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
from ..records import FinalRecord, FinalScores, StrategySummary, TrialRecord, finished, read_finalist, summarize
from ..sampling import HEAD_EPOCH
from .ending import Ending
from .facts import StudyFacts
from .finalists import Finalist, choose_finalists, due_candidates, find_default, is_finalist, list_candidates
from .settings import StudySettings
from .starts import starts_sentence


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
        candidate_finals: Those of candidates that are not, or not yet, the finalist of their strategy.
        trainings: Those of the present finalists on part of the training images.
        race_ended: Names of the candidates of the last race that ended.
        comparing: Compares the finals; by default by resampling each time.
        data_faults: Faults of the data; None if they were not looked for.
        truncation: What the cuts of the pretrained network score and cost; None if they were not probed.
        nearness: Nearness of the data to those of the pretraining; None in older studies.
        stock: Model stock of the recommended strategy's seeds; None unless one was tried.
        workers: Number of workers that hold a trial or final.
        running_finals: Number of finals that they train.
        wish: Desired state of the workers: run, pause or stop.
        used_seconds: Device seconds that the trials have used.
        speed: Speed of the backbone on the device of the first trial; None unless the study began with a budget.
        ending: Why the search ended before all of its trials ran; None if it did not.
    """

    settings: StudySettings
    facts: StudyFacts
    trials: tuple[TrialRecord, ...]
    finals: tuple[FinalRecord, ...]
    device: str
    versions: dict[str, str]
    trainings: tuple[CurveRecord, ...] = ()
    candidate_finals: tuple[FinalRecord, ...] = ()
    race_ended: tuple[str, ...] = ()
    comparing: Comparing = compare
    data_faults: DataFaults | None = None
    truncation: Truncation | None = None
    nearness: Nearness | None = None
    stock: ModelStock | None = None
    workers: int = 0
    running_finals: int = 0
    wish: str = RUN
    used_seconds: float = 0.0
    speed: SpeedProbe | None = None
    ending: Ending | None = None

    @property
    def state(self) -> str:
        """Return what is missing: trials, finals, or nothing (finished)."""
        if not has_ended(self.settings, self.trials, self.used_seconds, self.ending):
            return "trials"
        return "finished" if self.decided else "finals"

    @property
    def missing_finals(self) -> int | None:
        """Return how many finals the present round of the race lacks; None while trials are missing."""
        if self.state != "finals":
            return None if self.state == "trials" else 0
        return len(self.due)

    @cached_property
    def due(self) -> tuple[Finalist, ...]:
        """Return the finals that are missing now: first those that choose the finalists, then those of the race."""
        choosing = due_candidates(self.settings, self.trials, self.facts.val_images, self._all_finals)
        if choosing:
            return tuple(each for each in self._listed if each.place == 0 and each.trial.number in choosing)
        recorded = {final.identity for final in self._all_finals}
        left = [each for each in self._listed if (each.strategy, each.trial.number, each.seed) not in recorded]
        chosen, needed = self.finalists, self.race.needed
        return tuple(
            each for each in left if each.trial is chosen[each.strategy] and each.place < needed.get(each.strategy, 0)
        )

    @cached_property
    def finalists(self) -> dict[str, TrialRecord]:
        """Return the finalist of each strategy that has one."""
        return choose_finalists(self.settings, self.trials, self.facts.val_images, self._all_finals)

    @cached_property
    def _listed(self) -> list[Finalist]:
        """Return all candidates with every seed that each may have."""
        return list_candidates(self.settings, self.trials, self.facts.val_images)

    @property
    def _all_finals(self) -> tuple[FinalRecord, ...]:
        """Return the finals of all candidates."""
        return (*self.finals, *self.candidate_finals)

    @cached_property
    def race(self) -> Race:
        """Return the race of the finals as it stands."""
        settings = self.settings
        return run_race(
            self.finals,
            list(self.finalists),
            settings.metric,
            settings.race_rules,
            costs=self._race_costs() if settings.finals_limited else None,
            ended=self.decided,
            comparing=self.comparing,
        )

    def _race_costs(self) -> RaceCosts:
        """Return what the finals cost, in epochs of the whole network: each what a training of its trial did."""
        trained = {final.trial_number for final in self.candidate_finals}
        return RaceCosts(
            limit=sum(map(self._cost, self.trials)),
            each={strategy: self._cost_of_final(trial) for strategy, trial in self.finalists.items()},
            spent=sum(
                self._cost_of_final(each.trial)
                for each in self._listed
                if not each.place and each.trial.number in trained
            ),
        )

    def _cost(self, trial: TrialRecord) -> float:
        """Return the epochs of a trial, each by the share of the FLOPs that are not frozen; features are cached."""
        shares = self.facts.frozen_flops
        frozen = shares[min(trial.freeze_depth or 0, len(shares) - 1)] if shares else 0.0
        return trial.epochs_trained * max(1 - frozen, HEAD_EPOCH)

    def _cost_of_final(self, trial: TrialRecord) -> float:
        """Return the epochs of one training of a trial, of which a trial over folds has several."""
        return self._cost(trial) / trial.trainings

    @cached_property
    def verdict(self) -> Verdict | None:
        """Return the verdict; None until the race of the finals has ended."""
        reached = self.race.verdict if self.decided else None
        if reached is None:
            return None
        faults = self.data_faults or DataFaults()
        leaks = measure_leaks(self.finals, self.settings.metric, faults.leaked_test, faults.straddling_test)
        return replace(reached, leaks=leaks)

    @cached_property
    def never_right(self) -> list[str]:
        """Return the classes of which the recommended strategy gets no test image right, with any seed."""
        if self.verdict is None:
            return []
        return errors_of(self.verdict.winner.finals, self.facts.classes).confusion.never_right

    @cached_property
    def selection(self) -> tuple[Selection, ...]:
        """Return what choosing added to the finalists' scores; nothing before the verdict."""
        if self.verdict is None:
            return ()
        return examine_selection(self.verdict, self.trials, self._default_finals(), self.comparing)

    def _default_finals(self) -> dict[str, list[FinalRecord]]:
        """Return the finals of each strategy's default configuration."""
        found: dict[str, list[FinalRecord]] = {}
        for strategy in self.settings.strategies:
            own = [trial for trial in self.trials if trial.strategy == strategy and trial.ranked]
            default = find_default(self.settings, own, strategy)
            found[strategy] = [
                final
                for final in self._all_finals
                if default and final.strategy == strategy and final.trial_number == default.number
            ]
        return found

    @property
    def textbook(self) -> Advice | None:
        """Return the textbook's advice and what became of it; None if the data's nearness was not measured."""
        images, classes = self.facts.counts["train"], len(self.facts.classes)
        return advise(images, classes, self.nearness, self.verdict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a reader of the verdict must know besides it; nothing before the verdict."""
        if self.verdict is None:
            return ()
        found = find_warnings(self.verdict, self.trials, self.settings.strategies)
        stock = self.stock
        said = stock.sentence() if stock is not None and stock.is_of(self.verdict.winner.finals) else ""
        return tuple(filter(None, (self.ended_early, *found, said, starts_sentence(self.settings.starts))))

    @property
    def ended_early(self) -> str:
        """Return why the search ended before all of its trials ran, in a sentence; nothing if it did not."""
        if self.ending is None:
            return ""
        return self.ending.sentence(self.settings, finished(self.trials), self.used_seconds)

    @cached_property
    def decided(self) -> bool:
        """Return whether all finals are done; unlike the verdict, this needs no resampling."""
        return is_decided(self.settings, self.facts, self.trials, self._all_finals, self.race_ended)

    @cached_property
    def curve(self) -> DataCurve | None:
        """Return the data-size curve, with the finals as its scores on all images; None if it was not run."""
        if not self.trainings or not self.finals:
            return None
        full = [CurveRecord(self.facts.counts["train"], final) for final in self.finals]
        return trace_curve([*self.trainings, *full], self.settings.metric, self.settings.strategies)

    @cached_property
    def summaries(self) -> list[StrategySummary]:
        """Return one summary per strategy."""
        return summarize(self.trials, self.settings.strategies)


def has_ended(
    settings: StudySettings, trials: Sequence[TrialRecord], used_seconds: float, ending: Ending | None = None
) -> bool:
    """Return whether a search has ended: by its number of trials, its budget, or because it was sure.

    Args:
        settings: Settings of the study.
        trials: Trials of the study.
        used_seconds: Device seconds that they have used.
        ending: Why it begins no further trials.

    Examples:
        >>> from frostline.search.records import TrialRecord
        >>> from frostline.search.study import StudySettings
        >>> from frostline.search.study.results import has_ended
        >>> settings = StudySettings.model_construct(trials=None, budget=60.0)
        >>> [has_ended(settings, [TrialRecord(0, state)], 61.0) for state in ("running", "pruned")]
        [False, True]
    """
    ended = finished(trials)
    if settings.trials is not None and ended >= settings.trials:
        return True
    spent = settings.budget is not None and used_seconds >= settings.budget
    return (spent or ending is not None) and ended == len(trials)


def is_decided(
    settings: StudySettings,
    facts: StudyFacts,
    trials: Sequence[TrialRecord],
    finals: Sequence[FinalScores],
    race_ended: Sequence[str],
) -> bool:
    """Return whether the race of these candidates has ended, or every finalist was trained with every seed.

    Args:
        settings: Settings of the study.
        facts: Facts about its data.
        trials: Trials of the study.
        finals: All finals of the study.
        race_ended: Names of the candidates of the last race that ended.
    """
    candidates = {each.identity for each in list_candidates(settings, trials, facts.val_images)}
    if not candidates or not finals:
        return False
    if candidates == set(race_ended):
        return True
    chosen = choose_finalists(settings, trials, facts.val_images, finals)
    count = Counter(final.strategy for final in finals if is_finalist(final, chosen))
    strategies = {read_finalist(name)[0] for name in candidates}
    return all(count[strategy] >= settings.finals_seeds for strategy in strategies)
