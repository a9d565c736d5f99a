"""Predicted device seconds of a trial: by the speed probe before any trial, then by what trials took.

A trial's work has parts: set-up, forward passes of frozen units, training and validation of the others, images to load
and augment, optimizer steps. The speed probe gives each part its seconds. Finished trials correct them: one factor for
each part, by non-negative least squares of relative errors that keeps near the common factor, then one for each
strategy. What early stopping and pruning save is the mean share of the epochs that a strategy's trials ran, apart for
its first ones, which nothing prunes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...objectives.config import FIXED_POOLINGS, TrialConfig
from ...objectives.features import is_small_enough
from ...objectives.phases import RATE_BATCHES, Phase
from ...objectives.speed import SpeedProbe, UnitSpeed
from ...objectives.strategies import PlannedTrial
from .attention_work import attention_flops, attention_training_flops

# Parts of a trial's work.
START, FROZEN, NETWORK, IMAGES, STEPS = range(5)
_PARTS = 5
# Weight of a part's common factor, in trials.
_PRIOR = 0.5
# Trials of a strategy that the pruner needs before it prunes.
_UNPRUNED = 2
# Optimizer steps that solving a head takes about as long as.
_SOLVER_STEPS = 500
_VAL = "validation"

ViewKey = tuple[int, Hashable, str, int]
"""What cached features depend on within a study: frozen units, what of them is kept, augmentation, view."""


@dataclass(frozen=True)
class MeasuredTrial:
    """A trial that ended.

    Attributes:
        planned: Its configuration and phases.
        epochs: Number of epochs that it ran; over folds, their mean.
        seconds: Seconds that it took.
    """

    planned: PlannedTrial
    epochs: float
    seconds: float


@dataclass(frozen=True)
class SecondsModel:
    """Predicts the seconds of trials.

    Attributes:
        probe: Measurements of the backbone on the device.
        train: Number of training images.
        val: Number of validation images.
        folds: Number of trainings of a trial, each on its fold.
        caches: Whether features of frozen units are cached.
        factors: Correction of each part (5,).
        ratios: Further correction of each strategy; 1 for others.
        shares: Share of its epochs that a trial runs, by strategy and whether it can be pruned.
        ended: Number of trials of each strategy so far.
        kept: Views whose features are cached.
    """

    probe: SpeedProbe
    train: int
    val: int
    folds: int = 1
    caches: bool = True
    factors: NDArray[np.float64] = field(default_factory=lambda: np.ones(_PARTS))
    ratios: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[tuple[str | None, bool], float] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    kept: frozenset[ViewKey] = frozenset()

    def seconds(self, planned: PlannedTrial, epochs: float | None = None) -> float:
        """Return the predicted seconds of a trial.

        Args:
            planned: Configuration and phases of the trial.
            epochs: Number of epochs that it runs, on each fold; None for the number expected.
        """
        strategy = planned.config.strategy
        if epochs is None:
            prunable = self.ended.get(strategy, 0) >= _UNPRUNED
            epochs = planned.epochs * self.shares.get((strategy, prunable), self.shares.get((None, prunable), 1.0))
        work, _ = self._work(planned, epochs, self.kept)
        return float(work @ self.factors) * self.ratios.get(strategy, 1.0)

    def after(self, planned: PlannedTrial) -> SecondsModel:
        """Return the model with the features cached that a trial leaves."""
        return replace(self, kept=self._work(planned, planned.epochs, self.kept)[1])

    def fit(self, trials: Sequence[MeasuredTrial]) -> SecondsModel:
        """Return the model corrected by trials, in the order in which they ended."""
        kept, works = frozenset[ViewKey](), []
        for trial in trials:
            work, kept = self._work(trial.planned, trial.epochs, kept)
            works.append(work)
        known = [place for place, trial in enumerate(trials) if trial.seconds > 0]
        if not known:
            return replace(self, kept=kept)
        works = np.stack(works)[known]
        seconds = np.array([trials[place].seconds for place in known])
        factors = _fit_factors(works, seconds)
        residuals = np.log(seconds / (works @ factors))
        names = [trials[place].planned.config.strategy for place in known]
        own = {name: [residuals[place] for place, of in enumerate(names) if of == name] for name in set(names)}
        # Shrunk, as if a trial without an error came on top.
        ratios = {name: float(np.exp(np.median(of) * len(of) / (len(of) + 1))) for name, of in own.items()}
        ended = Counter(trial.planned.config.strategy for trial in trials)
        return replace(self, factors=factors, ratios=ratios, shares=_shares(trials), ended=ended, kept=kept)

    def _work(
        self, planned: PlannedTrial, epochs: float, kept: frozenset[ViewKey]
    ) -> tuple[NDArray[np.float64], frozenset[ViewKey]]:
        """Return the seconds of each part by the probe (5,), and the views that are cached afterwards."""
        work, left = np.zeros(_PARTS), epochs
        first = 0
        for phase in planned.phases:
            run = min(float(phase.epochs), left)
            if run <= 0:
                break
            own, kept = self._phase_work(planned, phase, first, run, kept)
            work += own
            left -= run
            first += phase.epochs
        return work, kept

    def _phase_work(
        self, planned: PlannedTrial, phase: Phase, first: int, epochs: float, kept: frozenset[ViewKey]
    ) -> tuple[NDArray[np.float64], frozenset[ViewKey]]:
        config, probe, depth = planned.config, self.probe, phase.freeze_depth
        units = probe.units[: len(probe.units) - config.truncate]
        prefix = sum(unit.forward for unit in units[:depth])
        rates = phase.unit_learning_rates
        # A gradient passes through the frozen units after the first that trains.
        trains = next((place for place, rate in enumerate(rates) if rate > 0), len(rates)) + depth
        suffix = sum(unit.forward for unit in units[depth:trains]) + sum(unit.training for unit in units[trains:])
        trained = sum(unit.parameters for unit, rate in zip(units[depth:], rates, strict=True) if rate > 0)
        count = 0 if config.mixing != "none" else 1 if config.augmentation == "none" else config.views
        after = self._views(config, count, depth, range(first, first + max(1, round(epochs))))
        new = after - kept
        # What is cached is computed once for all folds: each image's in each view.
        train, val = (self.train, self.val) if self.folds == 1 else (self.train + self.val,) * 2
        passes = train * sum(key[2] != _VAL for key in new) if count and after else self.folds * self.train * epochs
        tested = val * sum(key[2] == _VAL for key in new) if after else self.folds * self.val * epochs
        work = np.zeros(_PARTS)
        work[START] = self.folds * probe.start
        work[FROZEN] = prefix * (passes + tested)
        load = probe.images.get(config.augmentation, max(probe.images.values()))
        work[IMAGES] = load * passes + min(probe.images.values()) * tested
        evaluated = sum(unit.forward for unit in units[depth:])
        head = self._head_seconds(config, units, into_features=any(rates))
        work[NETWORK] = self.folds * epochs * (suffix * self.train + evaluated * self.val + head)
        steps = _SOLVER_STEPS if phase.solve else max(1, -(-self.train // config.batch_size))
        each = steps * (probe.step + probe.per_parameter * trained) + probe.step * self.val / 128
        if phase.relative_rates:
            # Gradients of some batches come before the epoch's steps, and no step follows them.
            before = min(RATE_BATCHES, steps)
            work[NETWORK] += self.folds * epochs * suffix * self.train * before / steps
            work[IMAGES] += load * passes * before / steps
            work[FROZEN] += prefix * passes * before / steps
            each += before * probe.step
        work[STEPS] = self.folds * epochs * each
        return work, kept | new

    def _head_seconds(self, config: TrialConfig, units: Sequence[UnitSpeed], *, into_features: bool) -> float:
        """Return the seconds of an epoch of a head that pools by attention, beyond those of a linear one."""
        read = _attended(config, units)
        if read is None:
            return 0.0
        of = read.places, read.channels, config.head.queries
        flops = self.train * attention_training_flops(*of, into_features=into_features) + self.val * attention_flops(
            *of
        )
        # At the rate of the backbone.
        return flops * sum(unit.forward for unit in units) / max(1, sum(unit.flops for unit in units))

    def _views(self, config: TrialConfig, count: int, depth: int, epochs: range) -> frozenset[ViewKey]:
        """Return the views that a phase caches, of ``count`` views that can be: those of its epochs, and the
        validation images; none where features of the frozen units are not worth caching.
        """
        if not self.kept_bytes(config, depth):
            return frozenset()
        part = _kept_part(config, all_frozen=depth == len(self.probe.units) - config.truncate)
        # Images of folds validate as those train that are not augmented.
        alike = config.augmentation == "none" and self.folds > 1
        own = {(depth, part, _VAL if alike else config.augmentation, epoch % count) for epoch in epochs if count}
        return frozenset(own | {(depth, part, _VAL, 0)})

    def kept_bytes(self, config: TrialConfig, depth: int) -> int:
        """Return the size of what is cached of so many frozen units, bytes per image; 0 if nothing is.

        Pooled features are, and others unless they are larger than the images.
        """
        if not self.caches or not depth:
            return 0
        units = self.probe.units[: len(self.probe.units) - config.truncate]
        last, all_frozen = units[depth - 1], depth == len(units)
        if all_frozen and _is_fixed(config):
            return sum(unit.pooled_bytes for unit in units[-config.head.depths :])
        if all_frozen and config.head.pooling == "attention" and config.head.function is None:
            last = _attended_unit(units)
        return last.output_bytes if is_small_enough(last.output_bytes, self.probe.image_bytes) else 0


def _attended(config: TrialConfig, units: Sequence[UnitSpeed]) -> UnitSpeed | None:
    """Return the unit whose places a head attends to; None if it does not, or if the probe did not keep them."""
    if config.head.pooling != "attention" or config.head.function is not None:
        return None
    read = _attended_unit(units)
    return read if read.channels else None


def _attended_unit(units: Sequence[UnitSpeed]) -> UnitSpeed:
    """Return the last unit, or the one before where the last one makes vectors of what attention pools."""
    return units[-2] if units[-1].output_bytes == units[-1].pooled_bytes and len(units) > 1 else units[-1]


def _kept_part(config: TrialConfig, *, all_frozen: bool) -> Hashable:
    """Return what is cached of the features: as they are, those before a pooling that learns, or pooled ones."""
    if not all_frozen:
        return None
    return config.head.depths if _is_fixed(config) else (config.head.pooling, config.head.function)


def _is_fixed(config: TrialConfig) -> bool:
    """Return whether the head has a pooling that learns nothing, as far as is known without building it."""
    return config.head.function is None and config.head.pooling in FIXED_POOLINGS


def _shares(trials: Sequence[MeasuredTrial]) -> dict[tuple[str | None, bool], float]:
    """Return the mean share of its epochs that a trial runs, by strategy (None: of all) and whether it can be pruned.

    Each mean has one more trial: of all strategies' share, which has one of all its epochs, or of the unpruned ones'.
    """
    ran: dict[tuple[str | None, bool], list[float]] = {}
    count: Counter[str] = Counter()
    for trial in trials:
        name, share = trial.planned.config.strategy, trial.epochs / trial.planned.epochs
        for key in (name, None):
            ran.setdefault((key, count[name] >= _UNPRUNED), []).append(share)
        count[name] += 1
    shares: dict[tuple[str | None, bool], float] = {}
    prior = 1.0
    for prunable in (False, True):
        prior = shares[None, prunable] = _shrunk(ran.get((None, prunable), []), prior)
        shares |= {key: _shrunk(own, prior) for key, own in ran.items() if key[0] and key[1] == prunable}
    return shares


def _shrunk(values: Sequence[float], prior: float) -> float:
    return (prior + sum(values)) / (1 + len(values))


def _fit_factors(works: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor of each part (5,) that brings the predictions near the seconds, by relative errors.

    Args:
        works: Seconds of each part by the probe (N, 5).
        seconds: Seconds of each trial (N,).
    """
    common = float(np.median(seconds / works.sum(axis=1)))
    prior = np.sqrt(_PRIOR) * np.eye(_PARTS)
    rows = np.concatenate([common * works / seconds[:, None], prior])
    # Readers of an ended study predict nothing, and need not wait for it.
    from scipy.optimize import nnls

    factors, _ = nnls(rows, np.concatenate([np.ones(len(seconds)), prior.sum(axis=1)]))
    return common * factors
