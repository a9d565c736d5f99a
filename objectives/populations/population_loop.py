"""The training loop of heads that step together: one order of batches, with each head's own epochs and early stopping.

For one network, see :mod:`~frostline.objectives.training.loop`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..config import TrialConfig
from ..devices import PeakMemory
from ..epochs import EpochResult, OnEpoch
from ..networks import Network
from ..training import (
    EVALUATION_BATCH,
    PhaseData,
    PhaseRun,
    batches_per_epoch,
    create_criterion,
    epoch_batches,
    require_finite,
    score_logits,
)
from .stacked_heads import HeadStack, structure
from .stacked_optimizers import StackedOptimization


@dataclass
class Member:
    """One configuration of a population.

    Attributes:
        config: Configuration of the trial.
        run: Its only phase, in progress.
        data: Inputs of the phase; the same object for all members with equal inputs.
        on_epoch: Called after each epoch.
        classes: Number of classes.
        random_state: State of the CPU's random generator after the head was created.
        logits: Logits of the best epoch on the validation images, float32 (N, classes).
        failure: Exception that ended it early; None without one.
    """

    config: TrialConfig
    run: PhaseRun
    data: PhaseData
    on_epoch: OnEpoch
    classes: int
    random_state: Tensor
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    failure: Exception | None = None

    @property
    def network(self) -> Network:
        return self.run.network

    @property
    def stack_key(self) -> Hashable:
        """All that the members of one stack must have in common."""
        config = self.config
        return (
            structure(self.network.pooled_head, config.head),
            (config.optimizer, config.batch_size, config.sampling),
        )

    def note(self, result: EpochResult) -> bool:
        """Record an epoch; returns whether the member continues."""
        try:
            require_finite(result.train_loss, result.val_loss, result.epoch)
            self.run.results.append(result)
            self.on_epoch(result)
        # Whatever the caller's function raises ends this training alone, and is handed back to the caller.
        except Exception as error:
            self.failure = error
        return self.failure is None and not self.run.ended(self.config.patience)


def train_stack(members: list[Member], seed: int, device: torch.device, memory: PeakMemory) -> None:
    """Train the members of one stack until each has ended."""
    configs = [member.config for member in members]
    heads = [member.network.pooled_head for member in members]
    stack = HeadStack(heads, [config.head.dropout for config in configs], _generator(members[0], seed, device))
    phases = [member.network.phase for member in members]
    batches = batches_per_epoch(len(members[0].data.train), configs[0].batch_size)
    optimization = StackedOptimization(
        configs, [phase.head_learning_rate for phase in phases], stack, [phase.epochs * batches for phase in phases]
    )
    while members:
        going_on = _run_epoch(members, stack, optimization, seed)
        memory.sample()
        if not all(going_on):
            staying = torch.tensor(going_on, device=device).nonzero().squeeze(1)
            stack.keep(staying)
            optimization.keep(staying)
            members = [member for member, goes_on in zip(members, going_on, strict=True) if goes_on]


def _generator(member: Member, seed: int, device: torch.device) -> torch.Generator:
    """A generator in the state from which a training alone would draw its first dropout mask."""
    generator = torch.Generator(device).manual_seed(seed)
    return generator.set_state(member.random_state) if device.type == "cpu" else generator


def _run_epoch(members: list[Member], stack: HeadStack, optimization: StackedOptimization, seed: int) -> list[bool]:
    """Train and validate one epoch; returns which members continue."""
    started, epoch = time.perf_counter(), members[0].run.epoch
    losses = _train_epoch(members, stack, optimization, epoch, seed)
    with optimization.averaged():
        logits = _predict(members, stack)
        judged = [score_logits(own, member.data) for own, member in zip(logits, members, strict=True)]
        for place, (member, (_, score)) in enumerate(zip(members, judged, strict=True)):
            if member.run.improves(score):
                member.run.best_state, member.logits = stack.copy_of(place), logits[place].clone()
    seconds = (time.perf_counter() - started) / len(members)
    return [
        member.note(EpochResult(epoch, member.network.phase.name, loss, *judgement, {"head": rate}, seconds))
        for member, loss, judgement, rate in zip(members, losses, judged, optimization.rates, strict=True)
    ]


def _train_epoch(
    members: list[Member], stack: HeadStack, optimization: StackedOptimization, epoch: int, seed: int
) -> list[float]:
    """Mean training loss of each member."""
    source, device = members[0].data.train, members[0].data.device
    weights, smoothing = _criteria(members)
    total = torch.zeros(len(members), device=device)
    for positions in epoch_batches(members[0].config, source.labels, seed, epoch):
        features = _side_by_side(members, lambda data, places=positions: data.train.batch(places, epoch))
        logits = stack.logits(features, training=True)
        losses = cross_entropies(logits, source.labels[positions.to(device)], weights, smoothing)
        optimization.zero_grad()
        losses.sum().backward()
        optimization.step()
        total += losses.detach() * len(positions)
    return (total / len(source)).tolist()


@torch.no_grad()
def _predict(members: list[Member], stack: HeadStack) -> Tensor:
    """Logits of the validation images, float32 (M, N, classes)."""
    logits = []
    for positions in torch.arange(len(members[0].data.val)).split(EVALUATION_BATCH):
        features = _side_by_side(members, lambda data, places=positions: data.val.batch(places, 0))
        logits.append(stack.logits(features, training=False))
    return torch.cat(logits, dim=1)


def _side_by_side(members: list[Member], batch: Callable[[PhaseData], Tensor]) -> Tensor:
    """Features (M, N, D) of the members' inputs; (1, N, D) where all members have the same inputs."""
    distinct = {id(member.data): member.data for member in members}
    batches = {key: batch(data).float() for key, data in distinct.items()}
    if len(batches) == 1:
        return next(iter(batches.values())).unsqueeze(0)
    return torch.stack([batches[id(member.data)] for member in members])


def _criteria(members: list[Member]) -> tuple[Tensor, Tensor]:
    """Class weights (M, classes) and label smoothing (M,) of the members."""
    labels = members[0].data.train.labels
    ones = torch.ones(members[0].classes, device=labels.device)
    criteria = [create_criterion(member.config, labels) for member in members]
    weights = torch.stack([ones if criterion.weight is None else criterion.weight for criterion in criteria])
    return weights, torch.tensor([criterion.label_smoothing for criterion in criteria], device=labels.device)


def cross_entropies(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: Tensor) -> Tensor:
    """The mean loss of a batch for each member, (M,): see :func:`~frostline.objectives.training.create_criterion`.

    Args:
        logits: Logits, float32 (M, N, classes).
        labels: Labels, int64 (N,), the same for all members.
        weights: Class weights (M, classes).
        smoothing: Label smoothing (M,).

    Example:
        >>> import torch
        >>> from frostline.objectives.populations.population_loop import cross_entropies
        >>> logits = torch.tensor([[[0.0, 0.0]], [[0.0, 100.0]]])
        >>> losses = cross_entropies(logits, torch.tensor([1]), torch.ones(2, 2), torch.zeros(2))
        >>> [round(loss, 3) for loss in losses.tolist()]
        [0.693, 0.0]
    """
    members, _, classes = logits.shape
    logs = logits.log_softmax(dim=2)
    hard = -(weights[:, labels] * logs.gather(2, labels.view(1, -1, 1).expand(members, -1, 1)).squeeze(2)).sum(dim=1)
    soft = -(weights.unsqueeze(1) * logs).sum(dim=(1, 2))
    return ((1 - smoothing) * hard + smoothing / classes * soft) / len(labels)
