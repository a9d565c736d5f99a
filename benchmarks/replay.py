"""Replays of a search: which recorded trials it trains in so many seconds, and what it answers.

    arms = arms_of(read_recording(), COMPETING)[0]
    trace = replay(arms, MaxUCB(), Unstopped(), budget=120.0, seed=0)
    trace.answer(60.0)

A trial trains the next recorded configuration of the strategy that the policy chose: the default first, then the others
in a random order. A strategy whose configurations are all used starts again with the first: the seconds are spent and
nothing new is found. A replay ends when its budget is spent, or every configuration was trained.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from benchmarks.arms import Arms, Configuration
from benchmarks.policies import Clock, Policy
from benchmarks.recordings import RecordedTrial
from benchmarks.stopping_rules import StoppingRule
from frostline.search.records import TrialRecord


@runtime_checkable
class Suggesting(Protocol):
    """A policy that chooses the configuration, too."""

    def pick(self, strategy: str, unused: Sequence[Configuration]) -> Configuration:
        """Return one of the chosen strategy's unused configurations."""
        ...


@dataclass(frozen=True)
class Trained:
    """A trial of a replay.

    Attributes:
        configuration: What was trained.
        record: What the search knows of it.
        ended: Seconds from the start of the search to the end of the trial.
        val_loss: Log loss on the validation images at the epoch of its score.
    """

    configuration: Configuration
    record: TrialRecord
    ended: float
    val_loss: float

    @property
    def score(self) -> float:
        """Validation score of a complete trial."""
        assert self.record.score is not None
        return self.record.score


# Of two complete trials of a strategy, the one with the larger value becomes its finalist.
Preference = Callable[[Trained], tuple[float, float]]


def earlier(trained: Trained) -> tuple[float, float]:
    """Prefer the higher validation score; of equals, the earlier trial."""
    return trained.score, -trained.record.number


def lower_loss(trained: Trained) -> tuple[float, float]:
    """Prefer the higher validation score; of equals, the lower log loss on the validation images."""
    return trained.score, -trained.val_loss


@dataclass(frozen=True)
class Answer:
    """What a search answers if it ends now.

    Attributes:
        since: Seconds from the start of the search.
        strategy: Strategy with the best finals: every strategy's best trial on the validation images is tested.
        worth: Expected test score of its finalist.
        leader: Strategy with the best validation score, the answer of a search without finals.
    """

    since: float
    strategy: str
    worth: float
    leader: str


@dataclass(frozen=True)
class Trace:
    """The trials of a replay, in their order."""

    trials: tuple[Trained, ...]

    def answers(self, preference: Preference = earlier) -> Iterator[Answer]:
        """Return the answer after each complete trial."""
        finalists: dict[str, Trained] = {}
        for trained in self.trials:
            if trained.record.state != "complete":
                continue
            strategy = str(trained.record.strategy)
            if strategy not in finalists or preference(trained) > preference(finalists[strategy]):
                finalists[strategy] = trained
            best = max(finalists, key=lambda name: finalists[name].configuration.final)
            leader = max(finalists, key=lambda name: finalists[name].score)
            yield Answer(trained.ended, best, finalists[best].configuration.worth, leader)

    def answer(self, seconds: float, preference: Preference = earlier) -> Answer | None:
        """Return the answer after so many seconds; None before the first complete trial."""
        found = None
        for answer in self.answers(preference):
            if answer.since > seconds:
                break
            found = answer
        return found

    def reached(self, worth: float) -> float:
        """Return the seconds until the answer's finalist is worth so much; infinite if it never is."""
        return next((answer.since for answer in self.answers() if answer.worth >= worth), float("inf"))


def replay(arms: Arms, policy: Policy, rule: StoppingRule, *, budget: float, seed: int) -> Trace:
    """Search until the budget is spent or nothing is left; a trial that would end later does not count.

    Args:
        arms: What is searched.
        policy: Chooses the strategy of each trial; a new one for each replay.
        rule: Stops trials.
        budget: Seconds.
        seed: Seed of the order of the configurations, the same for all policies.
    """
    order = _Order(arms, seed)
    known: set[str] = set()
    history: list[TrialRecord] = []
    trials: list[Trained] = []
    spent = 0.0
    while not order.over:
        strategy = policy.choose(history, arms.strategies, Clock(spent, budget))
        unused = order.unused(strategy)
        configuration = policy.pick(strategy, unused) if isinstance(policy, Suggesting) else unused[0]
        order.take(strategy, configuration)
        record = train(configuration.trial, rule, history, known)
        assert record.seconds is not None
        spent += record.seconds
        if spent > budget:
            break
        history.append(record)
        trials.append(Trained(configuration, record, spent, _val_loss(configuration.trial, record)))
    return Trace(tuple(trials))


class _Order:
    """Which configurations a replay has not trained yet, in the order in which it will."""

    def __init__(self, arms: Arms, seed: int) -> None:
        self._unused: dict[str, list[Configuration]] = {}
        self._again: dict[str, list[Configuration]] = {}
        for strategy, (first, *others) in arms.configurations.items():
            rng = np.random.default_rng([seed, zlib.crc32(strategy.encode())])
            order = [first, *(others[place] for place in rng.permutation(len(others)))]
            self._unused[strategy], self._again[strategy] = order, []

    @property
    def over(self) -> bool:
        """Whether every configuration was taken."""
        return not any(self._unused.values())

    def unused(self, strategy: str) -> list[Configuration]:
        """Return the configurations of a strategy that were not taken; all once more if all were."""
        return self._unused[strategy] or self._again[strategy]

    def take(self, strategy: str, configuration: Configuration) -> None:
        """Note that a configuration is trained now."""
        self.unused(strategy).remove(configuration)
        self._again[strategy].append(configuration)


def train(trial: RecordedTrial, rule: StoppingRule, history: Sequence[TrialRecord], known: set[str]) -> TrialRecord:
    """Train a recorded configuration epoch by epoch, until it ends or is stopped.

    Args:
        trial: Recorded trial.
        rule: Stops it.
        history: Trials that ended before.
        known: Keys of the views that they computed; those of the trained epochs are added.

    Returns:
        What the search knows of it; its seconds are those of the trained epochs, the setup and, if it was not stopped,
        what follows the last epoch.
    """
    costs = trial.cold_seconds(set(known))
    running = TrialRecord(len(history), "running", trial.strategy, trial.config, epochs=trial.config.get("epochs"))
    epochs, state = len(costs), "complete" if trial.complete else "failed"
    for epoch, score in enumerate(trial.val_score.tolist()):
        running.curve[epoch] = score
        # The last epoch is paid for.
        if epoch + 1 < len(costs) and (ended := rule.ends(running, history)) is not None:
            epochs, state = epoch + 1, ended
            break
    known.update(view for view, epoch in zip(trial.views, trial.view_epochs, strict=True) if epoch < epochs)
    seconds = trial.setup_seconds + float(costs[:epochs].sum())
    if epochs == len(costs):
        seconds += trial.other_seconds
    score = {
        "complete": lambda: float(trial.val_score[_kept(trial, epochs)]),
        "pruned": lambda: running.curve[epochs - 1],
        "failed": lambda: None,
    }[state]()
    return replace(running, state=state, score=score, seconds=seconds)


def _kept(trial: RecordedTrial, epochs: int) -> int:
    """Return the epoch whose weights are kept after so many epochs: the first best one of the phase that it is in."""
    if epochs == len(trial.val_score):
        return trial.best_epoch
    start = trial.phases.index(trial.phases[epochs - 1])
    return start + int(trial.val_score[start:epochs].argmax())


def _val_loss(trial: RecordedTrial, record: TrialRecord) -> float:
    return float(trial.val_loss[_kept(trial, len(record.curve))]) if record.state == "complete" else float("nan")
