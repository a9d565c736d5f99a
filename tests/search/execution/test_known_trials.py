"""What a worker reads again: the same as looking through all trials that it knows."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from frostline.search.execution.known_trials import KnownTrials
from frostline.search.study import STARTED

STATES = [TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL]


def make_trial(number: int, trial_id: int, state: TrialState, started: bool) -> FrozenTrial:
    value = 0.5 if state == TrialState.COMPLETE else None
    trial = create_trial(state=state, value=value, user_attrs={STARTED: {}} if started else {})
    trial.number, trial._trial_id = number, trial_id
    return trial


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_same_as_looking_through_all_trials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(200).tolist()
    known, every = KnownTrials(), dict[int, FrozenTrial]()

    def drawn(number: int) -> FrozenTrial:
        state = STATES[rng.choice(4, p=[0.8, 0.1, 0.05, 0.05])]
        return make_trial(number, ids[number], state, bool(rng.random() < 0.5))

    for place in range(12):
        # Some come later than those with higher numbers, and some that had ended run again.
        read = [drawn(int(number)) for number in rng.choice(14 * (place + 1), size=14, replace=False)]
        known.take(read)
        every |= {trial._trial_id: trial for trial in read}
        changed = drawn(read[0].number)
        known.put(changed)
        every[changed._trial_id] = changed

        by_number = sorted(every.values(), key=lambda trial: trial.number)
        assert [id(trial) for trial in known.all()] == [id(trial) for trial in by_number]
        still_open = [trial_id for trial_id, trial in every.items() if not trial.state.is_finished()]
        own, taken = set(still_open[::3]), {*still_open[1::4], ids[199]}
        settled = {
            trial.number: trial._trial_id
            for trial in by_number
            if trial._trial_id not in taken and (trial.state.is_finished() or trial._trial_id in own)
        }
        unread = known.unread(own, taken)
        assert unread.first == next(number for number in count() if number not in settled)
        assert unread.but == [trial_id for number, trial_id in settled.items() if number > unread.first]
        assert unread.under_way == {
            trial._trial_id
            for trial in by_number
            if trial.state == TrialState.RUNNING and STARTED in trial.user_attrs and trial._trial_id not in taken
        }
