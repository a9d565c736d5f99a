"""Populations: head-only configurations that are trained together.

They share the frozen network, its hashes and its features; heads of one structure with one order of batches share every
step: see :mod:`~frostline.objectives.populations.stacked_heads`.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch

from ..augmentation import random_ops
from ..config import TrialConfig
from ..devices import PeakMemory, seed_generators
from ..epochs import OnEpoch
from ..errors import TrainingFailedError
from ..finetune import FinetuneResult, Task, phase_data
from ..metrics import all_scores
from ..networks import Network, head_for, seen_by_head
from ..precision import EXACT
from ..strategies import PlannedTrial, get_strategy, plan_phases
from ..training import Certificate, PhaseData, PhaseRun, certify, certify_with_head, to_probabilities
from .population_loop import Member, train_stack
from .stacked_heads import fill


def can_train_together(planned: PlannedTrial, units: int) -> bool:
    """Whether a trial can be in a population: a single phase that trains the head alone, on cached features.

    Args:
        planned: Configuration and phases of the trial.
        units: Units of the backbone before truncation.

    Example:
        >>> from frostline.objectives.config import TrialConfig
        >>> from frostline.objectives.populations import can_train_together
        >>> from frostline.objectives.strategies import plan_trial
        >>> head, full = (plan_trial(TrialConfig(strategy=name), 8) for name in ("feature_extraction", "full"))
        >>> can_train_together(head, units=8), can_train_together(full, units=8)
        (True, False)
    """
    config, phase = planned.config, planned.phases[0]
    return (
        get_strategy(config.strategy).pretrained
        and len(planned.phases) == 1
        and phase.freeze_depth == units - config.truncate
        and phase.solve is None
        and phase.penalty is None
        and config.mixing == "none"
        # A pooling that learns cannot be part of the cached features.
        and config.head.pooling not in ("gem", "attention")
        and config.head.function is None
    )


def finetune_together(
    configs: Sequence[TrialConfig], task: Task, *, seed: int, on_epochs: Sequence[OnEpoch]
) -> list[FinetuneResult | Exception]:
    """The results of :func:`~frostline.objectives.finetune.finetune` for several configurations, in far less time.

    Numbers equal those of training one at a time up to rounding, which changes with the amount computed at once. On a
    CPU, probabilities of the validation images differ by less than 1e-4 after the epochs of the default space, and
    scores are equal unless a prediction is tied within that; they differ more only where a learning rate is so high
    that training amplifies rounding. On a GPU, mixed precision rounds to 3 digits. There are no checkpoints: an
    interrupted population restarts from epoch 0.

    Args:
        configs: Configurations, all of which pass :func:`can_train_together`.
        task: Data, backbone, metric and device.
        seed: Seed of heads, data order, augmentation and dropout.
        on_epochs: For each configuration, called after each of its epochs; an exception ends that training alone.

    Returns:
        For each configuration its result, or the exception that ended it: a TrainingFailedError, or one that
            ``on_epochs`` raised. ``seconds`` is its share of the time; ``peak_memory_bytes`` is that of the population.
    """
    population = _Population(configs, task, seed, on_epochs)
    for members in population.stacks():
        train_stack(members, seed, task.device, population.memory)
    return population.results()


class _Population:
    """The members of a population with all that they share."""

    def __init__(self, configs: Sequence[TrialConfig], task: Task, seed: int, on_epochs: Sequence[OnEpoch]) -> None:
        self._task = task
        self._seed = seed
        self._began = time.perf_counter()
        self.memory = PeakMemory(task.device)
        self._whole = task.backbones.fresh(pretrained=True, seed=seed).to(task.device)
        self._networks: dict[Hashable, Network] = {}
        self._data: dict[Hashable, PhaseData] = {}
        self._members = [self._member(config, on_epoch) for config, on_epoch in zip(configs, on_epochs, strict=True)]

    def stacks(self) -> list[list[Member]]:
        """Members grouped by what is computed at once."""
        grouped: dict[Hashable, list[Member]] = {}
        for member in self._members:
            grouped.setdefault(member.stack_key, []).append(member)
        return list(grouped.values())

    def results(self) -> list[FinetuneResult | Exception]:
        """The result of each member, once all have trained."""
        certified = {seen: certify(network, None) for seen, network in self._networks.items()}
        finished: list[FinetuneResult | Exception] = []
        for member in self._members:
            try:
                finished.append(member.failure or self._result(member, certified[_seen(member.config)]))
            except TrainingFailedError as error:
                finished.append(error)
        return self._with_seconds(finished)

    def _member(self, config: TrialConfig, on_epoch: OnEpoch) -> Member:
        backbone = seen_by_head(self._whole.truncated(config.truncate), config.head)
        (phase,) = plan_phases(config, len(self._whole.units))
        # As in a training alone: the head draws first from the seed.
        seed_generators(self._seed, self._task.device)
        classes = len(self._task.train.classes)
        head = head_for(backbone, config.head, classes)
        random_state = torch.get_rng_state()
        head.to(self._task.device)
        if _seen(config) in self._networks:
            network = self._networks[_seen(config)].with_head(head, phase)
        else:
            network = self._networks[_seen(config)] = Network(backbone, phase, head, self._task.precision)
        seen = (network.prefix.key, config.augmentation, config.views, random_ops(config))
        if seen not in self._data:
            self._data[seen] = phase_data(network, config, self._task, self._seed)
        return Member(config, PhaseRun(network, None, 0), self._data[seen], on_epoch, classes, random_state)

    def _result(self, member: Member, certified: Certificate) -> FinetuneResult:
        network, best = member.network, member.run.best
        assert best is not None
        certificate = certify_with_head(certified, network, member.config.weight_decay)
        certificate.require()
        fill(network.pooled_head, member.run.best_state)
        backbone = self._whole.truncated(member.config.truncate)
        probabilities = to_probabilities(member.logits)
        network.compute_in(EXACT)
        return FinetuneResult(
            score=best.score,
            best_epoch=best.epoch,
            val_probabilities=probabilities,
            val_metrics=all_scores(probabilities, self._task.val.labels),
            epochs=tuple(member.run.results),
            certificates=(certificate,),
            seconds=0.0,
            peak_memory_bytes=self.memory.bytes,
            trainable_parameters=sum(parameter.numel() for parameter in network.head.parameters()),
            frozen_share=backbone.frozen_share(certificate.freeze_depth),
            network=network.eval(),
        )

    def _with_seconds(self, results: list[FinetuneResult | Exception]) -> list[FinetuneResult | Exception]:
        """Set the seconds of each result: its share of its own epochs, and an equal share of the common work."""
        epochs = [sum(result.seconds for result in member.run.results) for member in self._members]
        common = (time.perf_counter() - self._began - sum(epochs)) / len(epochs)
        return [
            result if isinstance(result, Exception) else replace(result, seconds=common + own)
            for result, own in zip(results, epochs, strict=True)
        ]


def _seen(config: TrialConfig) -> Hashable:
    """What of the backbone a head sees, before its pooling."""
    return config.truncate, config.head.depths
