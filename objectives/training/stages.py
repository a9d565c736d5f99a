"""Stages: phases that train the head alone and that a trial goes on from. One outcome serves all trials that share it.

The linear probe of ``lp_ft``, the first phase of ``gradual_unfreezing`` and the solution of ``head.init = "probe"``
depend on nothing that is configured for later phases. What such a phase leaves is kept as a checkpoint is, and put back
as one, so that a trial ends with the numbers that it would have had on its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import OWN_PARAMETERS, TrialConfig, flatten
from ..epochs import OnEpoch
from ..features.feature_store import FeatureFiles, write_within
from ..phases import Phase, chains
from .certificate import Certificate
from .checkpoint import Record, identity, pack, part_of, random_states, set_random_states, unpack
from .logistic_regression import solve_logistic_regression
from .loop import PhaseData, PhaseRun
from .optimizers import Optimisation

# Part of every key: raise it when a phase gives other numbers than before, or another state is kept of it.
_FORMAT = 1
# Stages may take this share of what features may take on disk.
_SHARE_OF_FEATURES = 0.1
# What acts on a phase of the head alone through the plan only: rate and epochs, which the key takes from the phase.
_PLANNED = OWN_PARAMETERS | {"strategy", "learning_rate", "epochs"}


class Stages:
    """The stages of a workspace, kept in files that its processes and studies share.

    Args:
        files: Where they are; None keeps nothing.
        features_budget: Bytes that features may take on disk; 0 keeps nothing.

    Attributes:
        restored: How many phases were put back instead of trained.
    """

    def __init__(self, files: FeatureFiles | None = None, features_budget: int = 0) -> None:
        self.restored = 0
        self._budget = int(_SHARE_OF_FEATURES * features_budget)
        self._files = files if self._budget else None

    @property
    def enabled(self) -> bool:
        """Whether anything can be kept at all."""
        return self._files is not None

    def share(
        self, key: str | None, run: PhaseRun, device: torch.device, train: Callable[[], Certificate], on_epoch: OnEpoch
    ) -> Certificate:
        """Bring a phase to its end: by this process, or as another trial left it.

        Args:
            key: See :func:`stage_key`; None trains.
            run: The phase; of epochs that a checkpoint holds nobody is told again.
            device: Where the trial trains.
            train: Trains what is left of the phase.
            on_epoch: Told each epoch that is put back, with its numbers. Its ``seconds`` are what it took here and
                now: its part of the time to wait for the stage and to load it.

        Returns:
            The certificate of the training, whoever did it. What it says was frozen is compared with what this
            trial's network has frozen.
        """
        if key is None or self._files is None:
            return train()
        started, told = time.perf_counter(), len(run.results)
        with self._files.lock(key):
            certificate = self._restore(self._files, key, run, device)
            if certificate is None:
                certificate = train()
                self._keep(self._files, key, run, device, certificate)
                return certificate
        self.restored += 1
        seconds = (time.perf_counter() - started) / max(1, len(run.results) - told)
        run.results[told:] = [replace(result, seconds=seconds) for result in run.results[told:]]
        for result in run.results[told:]:
            on_epoch(result)
        return certificate

    def _restore(self, files: FeatureFiles, key: str, run: PhaseRun, device: torch.device) -> Certificate | None:
        """Put back how the phase ended; None, and all as it was, where that is not known or of other frozen weights."""
        found = _read(files, key)
        if found is None:
            return None
        record, tensors = found
        certificate = record.certificates[-1]
        if {*run.network.frozen_hashes(), certificate.after} != {certificate.before}:
            return None
        run.results += record.epochs[len(run.results) :]
        run.network.load_state(part_of(tensors, "network"))
        if (optimisation := _going_on(run)) is not None:
            optimisation.load_state(part_of(tensors, "optimisation"))
        set_random_states(device, part_of(tensors, "random"))
        return certificate

    def _keep(
        self, files: FeatureFiles, key: str, run: PhaseRun, device: torch.device, certificate: Certificate
    ) -> None:
        seconds, optimisation = sum(result.seconds for result in run.results), _going_on(run)
        parts = {
            "network": run.network.trainable_state(),
            "optimisation": {} if optimisation is None else optimisation.state(),
            "random": random_states(device),
        }
        content = pack(Record(key, seconds, tuple(run.results), (certificate,)), parts)
        write_within(files, self._budget, key, {"seconds": seconds}, np.frombuffer(content, np.uint8))


def _going_on(run: PhaseRun) -> Optimisation | None:
    """The optimizer that a later phase goes on with."""
    return None if run.last else run.optimisation


def _read(files: FeatureFiles, key: str) -> tuple[Record, dict[str, Tensor]] | None:
    found = files.read(key)
    if found is None:
        return None
    try:
        return unpack(found[1].tobytes(), key)
    except (ValueError, KeyError):
        return None


def stage_key(phases: Sequence[Phase], run: PhaseRun, config: TrialConfig, data: PhaseData) -> str | None:
    """Digest of all that the outcome of a phase depends on; None if it is no stage.

    What is configured for later phases is not in it. Backbone, images, their augmentation and the machine are in it by
    what the features of a frozen prefix depend on.

    Args:
        phases: Of the trial.
        run: The phase.
        config: Of the trial.
        data: Of the phase.
    """
    phase = run.network.phase
    begun = phases[: phases.index(phase) + 1]
    if len(begun) == len(phases) or not all(_is_shareable(each, phase.freeze_depth) for each in begun):
        return None
    if len(run.network.suffix):
        return None
    lengths = [
        [sum(each.epochs for each in chain), chain[-1] in begun] for chain in chains(phases) if chain[0] in begun
    ]
    return identity(
        tuple(begun),
        format=_FORMAT,
        chains=lengths,
        solved=[each.solve is not None for each in begun],
        config=_values(config, solved=all(each.solve for each in begun)),
        seed=data.seed,
        micro_batches=data.micro_batches,
        metric=data.metric,
        features=[data.train.key(0), data.val.key(0)],
        threads=torch.get_num_threads(),
    )


def _is_shareable(phase: Phase, units: int) -> bool:
    """Whether a phase trains the head alone, by nothing but what is known here: plugins may bring functions."""
    return phase.freeze_depth == units and phase.penalty is None and phase.solve in (None, solve_logistic_regression)


def _values(config: TrialConfig, *, solved: bool) -> dict[str, Any]:
    """What of a configuration acts on phases of the head alone."""
    values = {name: value for name, value in flatten(config).items() if name not in _PLANNED}
    if not solved:
        return values
    # Features and head are all that a solver looks at, and a head in evaluation mode, where dropout is but a place.
    values = {name: value for name, value in values.items() if name.startswith("head.")}
    return values | {"head.dropout": config.head.dropout > 0}
