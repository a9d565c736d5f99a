"""A user's samplers, importable as a user's own file is."""

from __future__ import annotations

from typing import Any

from optuna.samplers import RandomSampler, TPESampler

seeded = RandomSampler(seed=3)
other_seed = RandomSampler(seed=4)
number = 3


def plain_tpe(seed: int) -> TPESampler:
    return TPESampler(seed=seed, n_startup_trials=2)


def no_sampler() -> int:
    return 3


class FailingSampler(RandomSampler):
    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        raise RuntimeError("no value")
