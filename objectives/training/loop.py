"""The training loop of one phase: epochs, validation, early stopping, best weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..augmentation import Mixer, mixed_loss
from ..config import TrialConfig
from ..epochs import EpochResult, OnEpoch
from ..errors import TrainingFailedError
from ..features import FeatureSource
from ..metrics import score
from ..networks import Network
from ..phases import RATE_BATCHES, Penalty
from .optimizers import Optimization
from .relative_gradients import relative_norm, shares_of_rates

EVALUATION_BATCH = 128
# For evaluation through units on a CPU: activations of more images leave its caches (MobileNetV2 at 96 px takes 1.8 ms
# per image at 32, 3.5 ms at 128; ResNet-18 at 224 px behaves the same).
CPU_EVALUATION_BATCH = 32


@dataclass
class PhaseRun:
    """A phase in progress. Create it before anything is trained or restored: penalties read the initial weights.

    Attributes:
        network: Network cut as the phase says, on the device.
        optimization: Optimizer and schedule; None where the head is solved.
        first_epoch: Number of the phase's first epoch within the trial.
        last: Whether no further phase continues with this optimizer. The phase then stops early without improvement,
            and leaves the weights of its best validation score in the network.
        results: Results of the phase's epochs so far.
        best_state: Weights of the best epoch, by name; empty unless ``last``.
        best_logits: Logits of the best epoch on the validation images, float32 (N, classes); None if another process
            computed them.
        penalty: Penalty of the phase; None without one.
    """

    network: Network
    optimization: Optimization | None
    first_epoch: int
    last: bool = True
    results: list[EpochResult] = field(default_factory=list)
    best_state: dict[str, Tensor] = field(default_factory=dict)
    best_logits: Tensor | None = None
    penalty: Penalty | None = field(init=False)

    def __post_init__(self) -> None:
        create = self.network.phase.penalty
        self.penalty = create(self.network) if create else None

    @property
    def epoch(self) -> int:
        """Number of the next epoch within the trial."""
        return self.first_epoch + len(self.results)

    @property
    def best(self) -> EpochResult | None:
        """The first of the best epochs so far; None before the first epoch."""
        return max(self.results, key=lambda result: result.score, default=None)

    def improves(self, score: float) -> bool:
        """Whether a score exceeds all scores so far."""
        return self.best is None or score > self.best.score

    def ended(self, patience: int) -> bool:
        """True after the last epoch, or after ``patience`` epochs without improvement."""
        if len(self.results) == self.network.phase.epochs:
            return True
        return self.last and self.best is not None and self.results[-1].epoch - self.best.epoch >= patience


@dataclass(frozen=True)
class PhaseData:
    """Training and validation inputs of a phase, behind its frozen prefix.

    Attributes:
        train: Training images or their features.
        val: Validation images or their features.
        metric: Name of the validation metric.
        device: Device on which to train.
        seed: Seed of data order, views and mixes.
        micro_batches: Number of pieces in which a batch is computed, one after the other. Their gradients add up to the
            batch's, so steps and schedule are the same, and numbers agree up to rounding; but batch norms in training
            mode see one piece at a time, and dropout draws other masks.
    """

    train: FeatureSource
    val: FeatureSource
    metric: str
    device: torch.device
    seed: int
    micro_batches: int = 1

    def micro_batch(self, batch_size: int) -> int | None:
        """Images computed at once; None for a whole batch."""
        return None if self.micro_batches == 1 else -(-batch_size // self.micro_batches)


def train_phase(run: PhaseRun, config: TrialConfig, data: PhaseData, on_epoch: OnEpoch) -> None:
    """Train the remaining epochs of a phase.

    Args:
        run: Phase in progress; its results and best weights are updated.
        config: Configuration of the trial.
        data: Inputs, metric, device and seed.
        on_epoch: Called after each epoch; an exception that it raises ends the trial.

    Raises:
        TrainingFailedError: The training or validation loss is not finite.
    """
    network, optimization = run.network, run.optimization
    assert optimization is not None
    criterion = create_criterion(config, data.train.labels)
    while not run.ended(config.patience):
        started, epoch = time.perf_counter(), run.epoch
        passes = partial(_backward_passes, network, config, data, epoch, optimization, criterion, run.penalty)
        train_loss = _train_epoch(network, data, optimization, passes)
        with optimization.averaged():
            logits = predict_logits(network, data.val, data.micro_batches)
            val_loss, val_score = score_logits(logits, data)
            if run.last and run.improves(val_score):
                run.best_state, run.best_logits = network.trainable_state(), logits
        require_finite(train_loss, val_loss, epoch)
        rates, seconds = optimization.learning_rates(), time.perf_counter() - started
        micro = data.micro_batch(config.batch_size)
        result = EpochResult(epoch, network.phase.name, train_loss, val_loss, val_score, rates, seconds, micro)
        run.results.append(result)
        on_epoch(result)
    network.load_state(run.best_state)


def require_finite(train_loss: float, val_loss: float, epoch: int) -> None:
    """Check the losses of an epoch.

    Raises:
        TrainingFailedError: One of the losses is not finite.

    Example:
        >>> from frostline.objectives.training import require_finite
        >>> require_finite(float("nan"), 0.5, epoch=3)
        Traceback (most recent call last):
        frostline.objectives.errors.TrainingFailedError: training loss is nan in epoch 3: ...
    """
    for name, loss in (("training", train_loss), ("validation", val_loss)):
        if not np.isfinite(loss):
            raise TrainingFailedError(f"{name} loss is {loss} in epoch {epoch}: the learning rate may be too high")


def batches_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer steps of an epoch; no batch has a single image, on which batch norms fail.

    >>> from frostline.objectives.training import batches_per_epoch
    >>> batches_per_epoch(images=100, batch_size=32), batches_per_epoch(images=5, batch_size=2)
    (4, 2)
    """
    return max(1, min(-(-images // batch_size), images // 2))


def create_criterion(config: TrialConfig, labels: Tensor) -> nn.CrossEntropyLoss:
    """The training loss: cross-entropy with the configured label smoothing and class weights, summed over images.

    The loss of a batch is the sum over its images divided by their number. torch's own mean divides by the weights that
    the batch happens to draw, so that class weights fade in small batches.

    Args:
        config: Configuration of the trial.
        labels: Labels of all training images, int64 (N,), each class at least once.

    Returns:
        The loss of logits (n, classes) and labels (n,), with sum reduction.

    Example:
        >>> import torch
        >>> from frostline.objectives.config import TrialConfig
        >>> from frostline.objectives.training import create_criterion
        >>> config = TrialConfig(strategy="full", class_weights="balanced")
        >>> create_criterion(config, torch.tensor([0, 0, 0, 1])).weight.tolist()[1]
        2.0
    """
    weights = None
    if config.class_weights == "balanced":
        counts = labels.bincount().float()
        weights = len(labels) / (len(counts) * counts)
    return nn.CrossEntropyLoss(weight=weights, label_smoothing=config.label_smoothing, reduction="sum")


def epoch_batches(config: TrialConfig, labels: Tensor, seed: int, epoch: int) -> Iterator[Tensor]:
    """Positions of an epoch's images, in batches of nearly equal size, so that no small last batch breaks batch norms.

    Of an odd number of images in batches of 2, one batch has 3.

    Args:
        config: Configuration of the trial.
        labels: Labels of all training images, int64 (N,).
        seed: Seed of the trial.
        epoch: Number of the epoch within the trial; order and draws depend on seed and epoch alone.

    Example:
        >>> import torch
        >>> from frostline.objectives.config import TrialConfig
        >>> from frostline.objectives.training import epoch_batches
        >>> config = TrialConfig(strategy="full", batch_size=4)
        >>> [len(batch) for batch in epoch_batches(config, torch.zeros(10), seed=0, epoch=0)]
        [4, 3, 3]
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    images = len(labels)
    if config.sampling == "balanced":
        labels = labels.cpu()
        order = (1.0 / labels.bincount())[labels].multinomial(images, replacement=True, generator=generator)
    else:
        order = torch.randperm(images, generator=generator)
    yield from order.tensor_split(batches_per_epoch(images, config.batch_size))


def _train_epoch(
    network: Network, data: PhaseData, optimization: Optimization, passes: Callable[[], Iterator[Tensor]]
) -> float:
    """Train an epoch, and return its mean loss.

    Args:
        network: Network in training.
        data: Inputs of the phase.
        optimization: Optimizer with its schedule.
        passes: Makes the backward passes of the epoch; see :func:`_backward_passes`.
    """
    if network.phase.relative_rates:
        network.eval()
        units = optimization.units()
        norms = [{unit: relative_norm(held) for unit, held in units.items()} for _ in islice(passes(), RATE_BATCHES)]
        optimization.scale(shares_of_rates(norms))
    network.train()
    # Summed on the device and read once: a read at each step would make the host wait.
    total = torch.zeros((), device=data.device)
    for loss in passes():
        total += loss
        optimization.step()
    return float(total) / len(data.train)


def _backward_passes(
    network: Network,
    config: TrialConfig,
    data: PhaseData,
    epoch: int,
    optimization: Optimization,
    criterion: nn.CrossEntropyLoss,
    penalty: Penalty | None,
) -> Iterator[Tensor]:
    """Yield the loss of each batch of an epoch, summed over its images, when its gradients are computed."""
    mixer = Mixer(config.mixing, config.mixing_alpha, data.train.image_size, data.seed)
    for step, positions in enumerate(epoch_batches(config, data.train.labels, data.seed, epoch)):
        mix = mixer.draw(len(positions), epoch, step)
        # For the whole batch: partners of a mix may be in another piece, and the prefix has its own batch size.
        features = data.train.batch(positions, epoch, mix)
        labels = data.train.labels[positions.to(data.device)]
        total = torch.zeros((), device=data.device)
        optimization.zero_grad()
        for piece in _pieces(len(positions), data.micro_batches):
            logits = network.classify(features[piece])
            loss = mixed_loss(partial(_share_of_loss, criterion, logits, piece), labels, mix)
            if penalty is not None and piece.start == 0:
                loss = loss + penalty()
            loss.backward()
            total += loss.detach() * len(positions)
        yield total


def _pieces(images: int, count: int) -> list[slice]:
    """Split a batch into pieces of nearly equal size; none has a single image, on which batch norms would fail."""
    count = max(1, min(count, images // 2))
    return [slice(images * place // count, images * (place + 1) // count) for place in range(count)]


def _share_of_loss(criterion: nn.CrossEntropyLoss, logits: Tensor, piece: slice, labels: Tensor) -> Tensor:
    """The part of the batch's mean loss that a piece contributes.

    Args:
        criterion: Loss with sum reduction.
        logits: Logits of the piece (n, classes).
        piece: Positions of the piece in the batch.
        labels: Labels of the whole batch, int64 (N,).
    """
    return criterion(logits, labels[piece]) / len(labels)


@torch.no_grad()
def predict_logits(network: Network, source: FeatureSource, micro_batches: int = 1) -> Tensor:
    """Logits of a whole split, computed in evaluation mode.

    Args:
        network: Network to evaluate.
        source: Inputs of the split.
        micro_batches: Number of pieces in which a batch is computed.

    Returns:
        Logits, float32 (N, classes).
    """
    network.eval()
    logits = []
    device = network_device(network)
    at_once = CPU_EVALUATION_BATCH if device.type == "cpu" and len(network.suffix) else EVALUATION_BATCH
    for positions in torch.arange(len(source)).split(max(1, at_once // micro_batches)):
        logits.append(network.classify(source.batch(positions, 0)))
    return torch.cat(logits)


def network_device(network: Network) -> torch.device:
    """Device of a network's head."""
    return next(network.head.parameters()).device


def validate(network: Network, data: PhaseData) -> tuple[float, float]:
    """Mean cross-entropy and metric on the validation images; the metric is NaN where the cross-entropy is not
    finite.
    """
    return score_logits(predict_logits(network, data.val, data.micro_batches), data)


def score_logits(logits: Tensor, data: PhaseData) -> tuple[float, float]:
    """The result of :func:`validate` for given logits (N, classes) of the validation images."""
    loss = float(F.cross_entropy(logits, data.val.labels))
    if not np.isfinite(loss):
        return loss, float("nan")
    return loss, score(data.metric, to_probabilities(logits), data.val.labels.cpu().numpy())


def to_probabilities(logits: Tensor) -> NDArray[np.float64]:
    """Class probabilities, float64 (N, classes), of logits: so their logarithms are the logits' cross-entropies.

    >>> import torch
    >>> from frostline.objectives.training import to_probabilities
    >>> to_probabilities(torch.zeros(1, 2)).tolist()
    [[0.5, 0.5]]
    """
    return logits.cpu().double().softmax(dim=1).numpy()
