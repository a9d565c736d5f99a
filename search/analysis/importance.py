"""Hyperparameter importance: the share of the scores' variance, by functional ANOVA (Hutter et al. 2014)."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict

from ..optuna_logging import quiet_optuna
from ..records import TrialRecord
from ..space import Domain

# Fewer complete trials are too few for this many parameters; more take Optuna seconds, and say no more.
MIN_TRIALS, MAX_TRIALS = 20, 500
# Optuna's 64 trees of depth 64 take 15 s for a thousand trials, and fit more noise.
_TREES, _DEPTH = 16, 5
_FOLDS = 5


def explained_variance(trials: Sequence[TrialRecord], domains: Mapping[str, Domain]) -> dict[str, float]:
    """Return the share of the variance of validation scores that each parameter explains by itself.

    Functional ANOVA splits the variance of a random forest fitted to the trials, and a forest also fits noise. So the
    shares are scaled by the variance that the forest explains in cross-validation: too low rather than too high.

    Args:
        trials: Trials of one strategy; only complete trials count, of more than :data:`MAX_TRIALS` as many at random.
        domains: Searched domains by dotted name.

    Returns:
        Share by name, in [0, 1]; the rest up to 1 is due to interactions. Conditional parameters, which some trials
        lack, are left out. Empty for fewer than :data:`MIN_TRIALS` trials, or if all scores are equal.
    """
    complete = [trial for trial in trials if trial.state == "complete" and trial.score is not None]
    if len(complete) < MIN_TRIALS or len({trial.score for trial in complete}) == 1:
        return {}
    shared = {
        name: domain
        for name, domain in domains.items()
        if domain.varies and all(_has(trial, name, domain) for trial in complete)
    }
    if not shared:
        return {}
    if len(complete) > MAX_TRIALS:
        complete = random.Random(0).sample(complete, MAX_TRIALS)
    with quiet_optuna():
        study = optuna.create_study()
    study.add_trials([_as_optuna(trial, shared) for trial in complete])
    evaluator = FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=0)
    shares = evaluator.evaluate(study, params=list(shared))
    foreseen = _foreseen(complete, shared)
    return {name: foreseen * float(np.clip(share, 0, 1)) for name, share in shares.items()}


def _foreseen(trials: Sequence[TrialRecord], domains: Mapping[str, Domain]) -> float:
    """Return the share of the variance that the forest explains in cross-validation; 0 if the mean predicts better."""
    settings = np.array([[_number(domain, trial.config[name]) for name, domain in domains.items()] for trial in trials])
    scores = np.array([trial.score for trial in trials], dtype=np.float64)
    forest = RandomForestRegressor(n_estimators=_TREES, max_depth=_DEPTH, random_state=0)
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    return max(0.0, float(r2_score(scores, cross_val_predict(forest, settings, scores, cv=folds))))


def _number(domain: Domain, value: Any) -> float:
    return float(domain.choices.index(value)) if domain.choices is not None else _scaled(domain, value)


def _has(trial: TrialRecord, name: str, domain: Domain) -> bool:
    return name in trial.config and domain.contains(trial.config[name])


def _as_optuna(trial: TrialRecord, domains: Mapping[str, Domain]) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        params={name: _scaled(domain, trial.config[name]) for name, domain in domains.items()},
        distributions={name: _distribution(domain) for name, domain in domains.items()},
        value=trial.score,
    )


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.choices is not None:
        return CategoricalDistribution(domain.choices)
    return FloatDistribution(_scaled(domain, domain.low), _scaled(domain, domain.high))


def _scaled(domain: Domain, value: Any) -> Any:
    """Return the logarithm for logarithmic domains: the analysis weighs a domain evenly, as the sampler does."""
    return math.log(value) if domain.log else value if domain.choices is not None else float(value)
