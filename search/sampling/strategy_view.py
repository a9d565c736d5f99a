"""The view of a study that Optuna's samplers and pruners get: the trials of one strategy only (contract C7)."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any, NoReturn

import optuna
from optuna import Study
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..records import STRATEGY

# A sampler models at most so many trials of a strategy: the best, and the latest.
MODELED, BEST = 250, 25


def strategy_view(study: Study, strategy: str, *, most: int | None = None) -> Study:
    """Return a study that has only the trials of one strategy, present and future.

    The storage behind it has no other trials. So no version of Optuna can mix strategies, however it reads them.

    Args:
        study: Study of all strategies.
        strategy: Name of the strategy.
        most: Maximum number of trials, see :func:`modeled_trials`; None for all.
    """
    storage = StrategyStorage(study, strategy, most)
    return optuna.load_study(study_name=study.study_name, storage=storage, sampler=study.sampler, pruner=study.pruner)


def modeled_trials(trials: list[FrozenTrial], most: int = MODELED) -> list[FrozenTrial]:
    """Return the trials that a sampler models: all, or of many the ``BEST`` best and the latest, by number.

    TPE compares its best trials, at most 25 of any number, with all others. So leaving out old ones that are not among
    the best keeps the good ones as they are, and a trial's cost flat: with all, it grows with every trial.

    Args:
        trials: Trials of one strategy, by number.
        most: Maximum number of trials.
    """
    if len(trials) <= most:
        return trials
    complete = (trial for trial in trials if trial.state == TrialState.COMPLETE and trial.values)
    best = sorted(complete, key=lambda trial: (-trial.values[0], trial.number))[:BEST]
    kept = {trial.number for trial in best}
    others = [trial.number for trial in trials if trial.number not in kept]
    kept.update(others[len(others) + len(best) - most :])
    return [trial for trial in trials if trial.number in kept]


class StrategyStorage(BaseStorage):
    """Read-only storage of the trials of one strategy; a sampler may store system attributes of its trials.

    Args:
        study: Study of all strategies.
        strategy: Name of the strategy.
        most: Maximum number of trials; None for all.
    """

    def __init__(self, study: Study, strategy: str, most: int | None = None) -> None:
        self._study = study
        self._all = study._storage
        self._strategy = strategy
        self._most = most

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._all.get_all_trials(study_id, deepcopy=False, states=states)
        own = [trial for trial in trials if self._owns(trial)]
        if self._most is not None:
            own = modeled_trials(own, self._most)
        return copy.deepcopy(own) if deepcopy else own

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = self._all.get_trial(trial_id)
        if not self._owns(trial):
            raise KeyError(f"trial {trial.number} is of another strategy than {self._strategy}")
        return trial

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.get_trial(trial_id)
        self._all.set_trial_system_attr(trial_id, key, value)

    def _owns(self, trial: FrozenTrial) -> bool:
        return trial.params.get(STRATEGY) == self._strategy

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._study._study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._study.study_name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._study.directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._all.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._all.get_study_system_attrs(study_id)

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError("the view of one strategy is read-only: write to the study of all strategies")

    create_new_study = _refuse
    delete_study = _refuse
    get_all_studies = _refuse
    set_study_user_attr = _refuse
    set_study_system_attr = _refuse
    create_new_trial = _refuse
    set_trial_param = _refuse
    set_trial_state_values = _refuse
    set_trial_intermediate_value = _refuse
    set_trial_user_attr = _refuse
