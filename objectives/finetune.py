"""The objective: one configuration, trained and validated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .augmentation import AugmentedViews, random_ops
from .config import TrialConfig, flatten
from .data import ImageSplit
from .devices import PeakMemory, is_out_of_memory, seed_generators, within_memory
from .epochs import EpochResult, OnEpoch
from .errors import TrainingFailedError
from .features import FeatureSource, FeatureStore, evaluation_source, source_of, whole_of
from .metrics import all_scores
from .networks import BackbonePool, Network, head_for, head_source, seen_by_head
from .phases import Phase, chains
from .precision import EXACT, Precision
from .strategies import get_strategy, plan_phases
from .training import (
    Certificate,
    CheckpointStore,
    NoCheckpoints,
    Optimization,
    PhaseData,
    PhaseRun,
    Stages,
    TrialState,
    batches_per_epoch,
    certify,
    identity,
    predict_logits,
    stage_key,
    to_probabilities,
    train_phase,
)
from .user_metrics import metric_source

_NO_CHECKPOINTS = NoCheckpoints()
NO_STAGES = Stages()


@dataclass(frozen=True)
class Task:
    """All that the trials of a study share. It holds no test split (contract C2).

    Attributes:
        train: Training images.
        val: Validation images.
        backbones: Pool of the study's backbone.
        metric: Name of the validation metric.
        device: Device on which to train.
        store: Store of features, shared between trials.
        stages: Head-only phases, shared by the trials that start with them.
        micro_batches: Number of pieces in which a batch is computed; see :class:`PhaseData`.
        precision: Precision of the networks' units while they train and are validated.
    """

    train: ImageSplit
    val: ImageSplit
    backbones: BackbonePool
    metric: str
    device: torch.device
    store: FeatureStore
    stages: Stages = NO_STAGES
    micro_batches: int = 1
    precision: Precision = EXACT


@dataclass(frozen=True)
class FinetuneResult:
    """A trained network and the record of its training.

    Attributes:
        score: Best validation score of the last phase, in [0, 1].
        best_epoch: Number of the epoch with that score.
        val_probabilities: Class probabilities of the validation images, float64 (N, classes), by the returned network
            in the precision of the training.
        val_metrics: Every metric of these, by name.
        epochs: Results of all epochs of all phases.
        certificates: Certificates of all phases, all passed.
        seconds: Wall time of the trial, seconds.
        peak_memory_bytes: Peak memory, bytes; see :class:`PeakMemory`.
        trainable_parameters: Number of trainable parameters in the last phase.
        frozen_share: Share of the backbone's parameters, and of its forward operations, before the last phase's cut.
        network: Network with the weights of the best epoch, in evaluation mode; it computes in float32.
    """

    score: float
    best_epoch: int
    val_probabilities: NDArray[np.float64]
    val_metrics: dict[str, float]
    epochs: tuple[EpochResult, ...]
    certificates: tuple[Certificate, ...]
    seconds: float
    peak_memory_bytes: int
    trainable_parameters: int
    frozen_share: tuple[float, float]
    network: Network


def check_trainable(config: TrialConfig, backbones: BackbonePool) -> None:
    """Refuse a configuration whose phases find nothing to train on this backbone; nothing is trained.

    Raises:
        InvalidInputError: A phase finds nothing to train, or the head nothing to pool; or see :func:`plan_phases`.
    """
    pretrained = get_strategy(config.strategy).pretrained
    backbone = seen_by_head(backbones.fresh(pretrained=pretrained, seed=0).truncated(config.truncate), config.head)
    for phase in plan_phases(config, len(backbones.pretrained.units)):
        Network(backbone, phase, nn.Sequential())


def count_trained(config: TrialConfig, backbones: BackbonePool, classes: int) -> tuple[int, int]:
    """Return how many parameters a configuration trains in its last phase, and how many its network has.

    Args:
        config: Configuration that passes :func:`check_trainable`.
        backbones: Pool of the backbone.
        classes: Number of classes.
    """
    backbone = seen_by_head(backbones.fresh(pretrained=True, seed=0).truncated(config.truncate), config.head)
    head = head_for(backbone, config.head, classes)
    network = Network(backbone, plan_phases(config, len(backbones.pretrained.units))[-1], head)
    counts = sum(value.numel() for _, value in network.trainable()), sum(v.numel() for v in network.parameters())
    backbones.fresh(pretrained=True, seed=0)
    return counts


def finetune(
    config: TrialConfig,
    task: Task,
    *,
    seed: int,
    on_epoch: OnEpoch = lambda result: None,
    checkpoints: CheckpointStore = _NO_CHECKPOINTS,
) -> FinetuneResult:
    """Train one configuration and validate it after each epoch; resume from its checkpoint, if any (contract C4).

    A training that runs out of memory is restarted once from its last checkpoint, with batches in two pieces whose
    gradients add up; its epochs then record the micro-batch.

    Args:
        config: Configuration; checked against the backbone before anything else.
        task: Data, backbone, metric and device.
        seed: Seed of head, data order, augmentation and dropout.
        on_epoch: Called after each epoch, to report, or to prune by raising. Not called for epochs that a checkpoint
            holds, but for those of a stage that another trial trained (see :meth:`Stages.run_or_restore`).
        checkpoints: Checkpoints of this training. An epoch's is stored after ``on_epoch``, so that every epoch is
            reported.

    Raises:
        InvalidInputError: The configuration does not suit the strategy or the backbone.
        TrainingFailedError: A loss is not finite, frozen weights changed (contract C1), or the device has too little
            memory.
    """

    def attempt(pieces: int) -> FinetuneResult:
        divided = replace(task, micro_batches=pieces * task.micro_batches)
        return _finetune(config, divided, seed, on_epoch, checkpoints)

    try:
        return within_memory(attempt, task.device)
    # Each allocator has an error class of its own; what is not about memory is raised again.
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        said = (str(error) or type(error).__name__).splitlines()[0]
    micro_batch = -(-config.batch_size // (2 * task.micro_batches))
    raise TrainingFailedError(f"needs more memory than the device has at micro-batch {micro_batch}: {said}")


def _finetune(
    config: TrialConfig, task: Task, seed: int, on_epoch: OnEpoch, checkpoints: CheckpointStore
) -> FinetuneResult:
    phases = plan_phases(config, len(task.backbones.pretrained.units))
    state = TrialState(checkpoints, _identity(config, task, seed, phases), task.device)
    memory = PeakMemory(task.device)
    whole = task.backbones.fresh(pretrained=get_strategy(config.strategy).pretrained, seed=seed).to(task.device)
    backbone = seen_by_head(whole.truncated(config.truncate), config.head)
    seed_generators(seed, task.device)
    head = head_for(backbone, config.head, len(task.train.classes))
    head.to(task.device)

    def watch(result: EpochResult) -> None:
        memory.sample()
        on_epoch(result)

    def finish(run: PhaseRun) -> None:
        if state.enter(run):
            return
        data = phase_data(run.network, config, task, seed)
        train = partial(_run_phase, run, config, data, state, watch)
        key = stage_key(phases, run, config, data) if task.stages.enabled else None
        state.leave(run, task.stages.run_or_restore(key, run, task.device, train, watch))

    run = _run_chains(phases, lambda phase: Network(backbone, phase, head, task.precision), config, task, state, finish)
    network, best, logits = run.network.eval(), run.best, run.best_logits
    assert best is not None
    probabilities = predict(network, task.val, task) if logits is None else to_probabilities(logits)
    network.compute_in(EXACT)
    return FinetuneResult(
        score=best.score,
        best_epoch=best.epoch,
        val_probabilities=probabilities,
        val_metrics=all_scores(probabilities, task.val.labels),
        epochs=tuple(state.epochs),
        certificates=tuple(state.certificates),
        seconds=state.seconds,
        peak_memory_bytes=memory.bytes,
        trainable_parameters=sum(parameter.numel() for _, parameter in network.trainable()),
        frozen_share=backbone.frozen_share(network.phase.freeze_depth),
        network=network,
    )


def _run_chains(
    phases: Sequence[Phase],
    create_network: Callable[[Phase], Network],
    config: TrialConfig,
    task: Task,
    state: TrialState,
    finish: Callable[[PhaseRun], None],
) -> PhaseRun:
    """Run the phases one after another, and return the run of the last."""
    run: PhaseRun | None = None
    epochs = sum(phase.epochs for phase in phases)
    for chain in chains(phases):
        if chain[0].until_plateau:
            if len(state.epochs) == epochs:
                break
            chain = [replace(chain[0], epochs=epochs - len(state.epochs))]
        optimization: Optimization | None = None
        for phase in chain:
            network = create_network(phase)
            if phase.solve is None:
                optimization = _optimization(optimization, network, config, chain, len(task.train))
            run = PhaseRun(network, optimization, len(state.epochs), last=phase is chain[-1])
            finish(run)
    assert run is not None, "a plan has a phase"
    return run


def _run_phase(
    run: PhaseRun, config: TrialConfig, data: PhaseData, state: TrialState, on_epoch: OnEpoch
) -> Certificate:
    """Train or solve the remaining epochs of a phase, store its state after each epoch, and certify it."""

    def after_epoch(result: EpochResult) -> None:
        on_epoch(result)
        state.save(run)

    solve = run.network.phase.solve
    if solve is None:
        train_phase(run, config, data, after_epoch)
    elif not run.results:
        run.results += solve(run.network, config, data, run.first_epoch, on_epoch)
        state.save(run)
    certificate = certify(run.network, run.optimization)
    certificate.require()
    return certificate


def _identity(config: TrialConfig, task: Task, seed: int, phases: tuple[Phase, ...]) -> str:
    return identity(
        phases,
        config=flatten(config) | {"head.function": head_source(config.head.function)},
        seed=seed,
        data=[task.train.fingerprint, task.val.fingerprint, metric_source(task.metric)],
        backbone=[task.backbones.spec.identity, task.backbones.fingerprint],
        precision=asdict(task.precision),
    )


def _optimization(
    present: Optimization | None, network: Network, config: TrialConfig, chain: list[Phase], images: int
) -> Optimization:
    """The optimizer of a chain of phases: created in its first phase, extended in the others."""
    if present is None:
        steps = sum(phase.epochs for phase in chain) * batches_per_epoch(images, config.batch_size)
        return Optimization(config, network, steps)
    present.extend(network)
    return present


def phase_data(network: Network, config: TrialConfig, task: Task, seed: int) -> PhaseData:
    """Inputs of a network's trainable part, behind its prefix."""
    return PhaseData(
        train=_source(task.train, config, network, task, seed),
        val=evaluation_source(task.val, network.prefix, task.store, task.device),
        metric=task.metric,
        device=task.device,
        seed=seed,
        micro_batches=task.micro_batches,
    )


def _source(split: ImageSplit, config: TrialConfig, network: Network, task: Task, seed: int) -> FeatureSource:
    images, ops = len(whole_of(split)), random_ops(config)
    views = AugmentedViews(config.augmentation, config.views, split.preprocessing, images, seed, ops)
    return source_of(split, views, network.prefix, task.store, task.device)


def predict(network: Network, split: ImageSplit, task: Task) -> NDArray[np.float64]:
    """Class probabilities, float64 (N, classes), of a split by a trained network; in smaller batches if memory runs
    out.
    """
    source = evaluation_source(split, network.prefix, task.store, task.device)
    return to_probabilities(within_memory(partial(predict_logits, network, source), task.device))
