"""The training loop of heads that step together: one order of batches, and each head's own course through it.

What :mod:`loop` does for one network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..config import TrialConfig
from ..devices import PeakMemory, autocast
from ..epochs import EpochResult, OnEpoch
from ..networks.network import Network
from ..training.loop import (
    EVALUATION_BATCH,
    PhaseData,
    PhaseRun,
    batches_per_epoch,
    create_criterion,
    epoch_batches,
    judge,
    require_finite,
)
from .stacked_heads import HeadStack, structure
from .stacked_optimizers import StackOptimisation


@dataclass
class Member:
    """One configuration of a population.

    Attributes:
        config: The configuration.
        run: Its only phase.
        data: Its inputs, the same object for all that see the same.
        on_epoch: Called after each epoch.
        classes: How many there are.
        random_state: Of the CPU's generator once the head is made.
        logits: Of the validation images (N, classes) at the best epoch.
        failure: What ended it early.
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
        """What members of one stack have in common."""
        config = self.config
        return (
            structure(self.network.pooled_head, config.head),
            (config.optimizer, config.batch_size, config.sampling),
        )

    def note(self, result: EpochResult) -> bool:
        """Take in an epoch. Whether it goes on."""
        try:
            require_finite(result.train_loss, result.val_loss, result.epoch)
            self.run.results.append(result)
            self.on_epoch(result)
        except Exception as error:
            self.failure = error
        return self.failure is None and not self.run.ended(self.config.patience)


def train_stack(members: list[Member], seed: int, device: torch.device, memory: PeakMemory) -> None:
    """Train members of one stack until each has ended."""
    configs = [member.config for member in members]
    heads = [member.network.pooled_head for member in members]
    stack = HeadStack(heads, [config.head.dropout for config in configs], _generator(members[0], seed, device))
    phases = [member.network.phase for member in members]
    batches = batches_per_epoch(len(members[0].data.train), configs[0].batch_size)
    optimisation = StackOptimisation(
        configs, [phase.head_learning_rate for phase in phases], stack, [phase.epochs * batches for phase in phases]
    )
    while members:
        going_on = _run_epoch(members, stack, optimisation, seed)
        memory.sample()
        if not all(going_on):
            staying = torch.tensor(going_on, device=device).nonzero().squeeze(1)
            stack.keep(staying)
            optimisation.keep(staying)
            members = [member for member, goes_on in zip(members, going_on, strict=True) if goes_on]


def _generator(member: Member, seed: int, device: torch.device) -> torch.Generator:
    """In the state in which a training alone begins to draw from it."""
    generator = torch.Generator(device).manual_seed(seed)
    return generator.set_state(member.random_state) if device.type == "cpu" else generator


def _run_epoch(members: list[Member], stack: HeadStack, optimisation: StackOptimisation, seed: int) -> list[bool]:
    """Train and validate once. Which members go on."""
    started, epoch = time.perf_counter(), members[0].run.epoch
    losses = _train_epoch(members, stack, optimisation, epoch, seed)
    with optimisation.averaged():
        logits = _predict(members, stack)
        judged = [judge(own, member.data) for own, member in zip(logits, members, strict=True)]
        for place, (member, (_, score)) in enumerate(zip(members, judged, strict=True)):
            if member.run.improves(score):
                member.run.best_state, member.logits = stack.copy_of(place), logits[place].clone()
    seconds = (time.perf_counter() - started) / len(members)
    return [
        member.note(EpochResult(epoch, member.network.phase.name, loss, *judgement, {"head": rate}, seconds))
        for member, loss, judgement, rate in zip(members, losses, judged, optimisation.rates, strict=True)
    ]


def _train_epoch(
    members: list[Member], stack: HeadStack, optimisation: StackOptimisation, epoch: int, seed: int
) -> list[float]:
    """Mean training loss of each."""
    source, device = members[0].data.train, members[0].data.device
    weights, smoothing = _criteria(members)
    total = torch.zeros(len(members), device=device)
    for positions in epoch_batches(members[0].config, source.labels, seed, epoch):
        with autocast(device):
            features = _side_by_side(members, lambda data, places=positions: data.train.batch(places, epoch))
            logits = stack.logits(features, training=True)
        losses = cross_entropies(logits.float(), source.labels[positions.to(device)], weights, smoothing)
        optimisation.zero_grad()
        losses.sum().backward()
        optimisation.step()
        total += losses.detach() * len(positions)
    return (total / len(source)).tolist()


@torch.no_grad()
def _predict(members: list[Member], stack: HeadStack) -> Tensor:
    """Logits (M, N, classes) float32 of the validation images."""
    logits = []
    for positions in torch.arange(len(members[0].data.val)).split(EVALUATION_BATCH):
        with autocast(members[0].data.device):
            features = _side_by_side(members, lambda data, places=positions: data.val.batch(places, 0))
            logits.append(stack.logits(features, training=False).float())
    return torch.cat(logits, dim=1)


def _side_by_side(members: list[Member], batch: Callable[[PhaseData], Tensor]) -> Tensor:
    """Features (M, N, D) of each member's inputs; (1, N, D) where all have the same."""
    distinct = {id(member.data): member.data for member in members}
    batches = {key: batch(data) for key, data in distinct.items()}
    if len(batches) == 1:
        return next(iter(batches.values())).unsqueeze(0)
    return torch.stack([batches[id(member.data)] for member in members])


def _criteria(members: list[Member]) -> tuple[Tensor, Tensor]:
    """Class weights (M, classes) and label smoothing (M,) of each."""
    labels = members[0].data.train.labels
    ones = torch.ones(members[0].classes, device=labels.device)
    criteria = [create_criterion(member.config, labels) for member in members]
    weights = torch.stack([ones if criterion.weight is None else criterion.weight for criterion in criteria])
    return weights, torch.tensor([criterion.label_smoothing for criterion in criteria], device=labels.device)


def cross_entropies(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: Tensor) -> Tensor:
    """``nn.CrossEntropyLoss`` of each member (M,).

    Args:
        logits: (M, N, classes).
        labels: (N,), the same for all.
        weights: Of the classes (M, classes).
        smoothing: Of the labels (M,).
    """
    members, _, classes = logits.shape
    logs = logits.log_softmax(dim=2)
    own = weights[:, labels]
    hard = -(own * logs.gather(2, labels.view(1, -1, 1).expand(members, -1, 1)).squeeze(2)).sum(dim=1)
    soft = -(weights.unsqueeze(1) * logs).sum(dim=(1, 2))
    return ((1 - smoothing) * hard + smoothing / classes * soft) / own.sum(dim=1)
