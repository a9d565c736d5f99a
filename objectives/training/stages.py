"""Stages: head-only first phases, trained once and shared by all trials with the same settings up to there.

The linear probe of ``lp_ft``, the first phase of ``gradual_unfreezing`` and the solution of ``head.init = "probe"``
depend on nothing that is configured for later phases. Their outcome is stored and restored like a checkpoint, so that a
trial ends with the numbers that it would have on its own.
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
from ..features import FeatureFileStore, write_within
from ..networks import head_source
from ..phases import Phase, chains
from ..user_metrics import metric_source
from .certificate import Certificate
from .checkpoint import CheckpointRecord, identity, pack, part_of, random_states, set_random_states, unpack
from .loop import PhaseData, PhaseRun
from .optimizers import Optimization
from .solved_heads import solve_logistic_regression

# Part of every key: increase it when a phase gives other numbers than before, or the stored state changes.
_FORMAT = 3
# Budget of the stages as a share of the features' budget on disk.
_SHARE_OF_FEATURES = 0.1
# Parameters that affect a head-only phase through its plan alone, which the key contains.
_PLANNED = OWN_PARAMETERS | {"strategy", "learning_rate", "epochs"}


class Stages:
    """The stages of a workspace, stored in files that its processes and studies share.

    Args:
        files: Store of the files; None stores nothing.
        features_budget: Budget of the features on disk, bytes; 0 stores nothing.

    Attributes:
        restored: Number of phases that were restored instead of trained.
    """

    def __init__(self, files: FeatureFileStore | None = None, features_budget: int = 0) -> None:
        self.restored = 0
        self._budget = int(_SHARE_OF_FEATURES * features_budget)
        self._files = files if self._budget else None

    @property
    def enabled(self) -> bool:
        """Whether anything can be stored at all."""
        return self._files is not None

    def run_or_restore(
        self, key: str | None, run: PhaseRun, device: torch.device, train: Callable[[], Certificate], on_epoch: OnEpoch
    ) -> Certificate:
        """Finish a phase: restore the outcome of another trial, or train it and store the outcome.

        Args:
            key: Key of the stage, see :func:`stage_key`; None always trains.
            run: Phase in progress; epochs that its checkpoint holds are not reported again.
            device: Device on which the trial trains.
            train: Trains the remaining epochs of the phase.
            on_epoch: Called for each restored epoch. Its ``seconds`` are the epoch's share of the time to wait for the
                stage and load it.

        Returns:
            The certificate of the training, by whichever trial. Its frozen weights are checked against those of this
            trial's network.
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

    def _restore(self, files: FeatureFileStore, key: str, run: PhaseRun, device: torch.device) -> Certificate | None:
        """Restore the outcome of a phase; None, with nothing changed, if it is unknown or has other frozen weights."""
        found = _read(files, key)
        if found is None:
            return None
        record, tensors = found
        certificate = record.certificates[-1]
        if {*run.network.frozen_hashes(), certificate.after} != {certificate.before}:
            return None
        run.results += record.epochs[len(run.results) :]
        run.network.load_state(part_of(tensors, "network"))
        if (optimization := _going_on(run)) is not None:
            optimization.load_state(part_of(tensors, "optimization"))
        set_random_states(device, part_of(tensors, "random"))
        return certificate

    def _keep(
        self, files: FeatureFileStore, key: str, run: PhaseRun, device: torch.device, certificate: Certificate
    ) -> None:
        seconds, optimization = sum(result.seconds for result in run.results), _going_on(run)
        parts = {
            "network": run.network.trainable_state(),
            "optimization": {} if optimization is None else optimization.state(),
            "random": random_states(device),
        }
        content = pack(CheckpointRecord(key, seconds, tuple(run.results), (certificate,)), parts)
        write_within(files, self._budget, key, {"seconds": seconds}, np.frombuffer(content, np.uint8))


def _going_on(run: PhaseRun) -> Optimization | None:
    """The optimizer that a later phase continues with; None if there is none."""
    return None if run.last else run.optimization


def _read(files: FeatureFileStore, key: str) -> tuple[CheckpointRecord, dict[str, Tensor]] | None:
    found = files.read(key)
    if found is None:
        return None
    try:
        return unpack(found[1].tobytes(), key)
    except (ValueError, KeyError):
        return None


def stage_key(phases: Sequence[Phase], run: PhaseRun, config: TrialConfig, data: PhaseData) -> str | None:
    """Digest of all that the outcome of a phase depends on; None if the phase is not a stage.

    It leaves out the configuration of later phases. Backbone, images, augmentation and machine are in it through the
    key of the frozen prefix's features.

    Args:
        phases: Phases of the trial.
        run: Phase in progress.
        config: Configuration of the trial.
        data: Inputs of the phase.
    """
    phase = run.network.phase
    place = [each.name for each in phases].index(phase.name)
    # The phase as it runs: its number of epochs may depend on the phases before it.
    phases = [*phases[:place], phase, *phases[place + 1 :]]
    begun = phases[: place + 1]
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
        metric=metric_source(data.metric),
        features=[data.train.key(0), data.val.key(0)],
        threads=torch.get_num_threads(),
    )


def _is_shareable(phase: Phase, units: int) -> bool:
    """Whether a phase trains the head alone and uses no functions of plugins."""
    return phase.freeze_depth == units and phase.penalty is None and phase.solve in (None, solve_logistic_regression)


def _values(config: TrialConfig, *, solved: bool) -> dict[str, Any]:
    """The parameters of a configuration that affect head-only phases."""
    values = {name: value for name, value in flatten(config).items() if name not in _PLANNED}
    values |= {"head.function": head_source(config.head.function)}
    if not solved:
        return values
    # A solver depends on features and head alone; the head is in evaluation mode, where dropout only shifts indices.
    values = {name: value for name, value in values.items() if name.startswith("head.")}
    return values | {"head.dropout": config.head.dropout > 0}
