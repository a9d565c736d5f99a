"""The rival: what a good practitioner writes with torchvision and a DataLoader, without Frostline's machinery.

The same images in the same division, the same layers, head, optimizer, schedule, batch size and early stopping.
Images are decoded and augmented by torchvision v2 in every epoch; frozen layers run in evaluation mode without
gradients, layout is channels-last, optimizer steps are fused. The network is put together of the same parts as ours,
so that both train the same layers; that costs nothing at run time.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import default_loader
from torchvision.transforms import InterpolationMode, v2

from frostline.objectives.augmentation.views import CROP_SCALE
from frostline.objectives.backbones import Backbone
from frostline.objectives.backbones.model_sources import model_source
from frostline.objectives.config import TrialConfig
from frostline.objectives.data import ImageDataset, ImageSplit, list_source
from frostline.objectives.devices import autocast, usual_precision
from frostline.objectives.networks import BackbonePool, create_head
from frostline.objectives.preprocessing import Preprocessing
from frostline.objectives.training import decays

EVALUATION_BATCH = 128
OnEpoch = Callable[[int, float], None]


class Photos(Dataset[tuple[Tensor, int]]):
    """torchvision's ImageFolder on some of its files.

    Args:
        samples: Paths and labels.
        transform: From a PIL image to what the network sees.
        cached: Decoded images by path, kept from one epoch and trial to the next; None decodes every time.
    """

    def __init__(
        self,
        samples: list[tuple[str, int]],
        transform: Callable[[Image.Image], Tensor],
        cached: dict[str, Image.Image] | None,
    ) -> None:
        self.samples, self.transform, self.cached = samples, transform, cached

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        image = self._load(path) if self.cached is None else self.cached[path]
        return self.transform(image), label

    @staticmethod
    def _load(path: str) -> Image.Image:
        image: Image.Image = default_loader(path)
        return image


def transform(policy: str, preprocessing: Preprocessing) -> v2.Compose:
    """torchvision's transforms for an augmentation of ours: ``none``, ``flip_crop`` or ``resized_crop``."""
    size, mode = preprocessing.image_size, InterpolationMode(preprocessing.interpolation)
    resize = v2.Resize(preprocessing.resize_size, interpolation=mode)
    geometry: dict[str, list[nn.Module]] = {
        "none": [resize, v2.CenterCrop(size)],
        "flip_crop": [resize, v2.RandomCrop(size), v2.RandomHorizontalFlip()],
        "resized_crop": [v2.RandomResizedCrop(size, scale=CROP_SCALE, interpolation=mode), v2.RandomHorizontalFlip()],
    }
    pixels = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    statistics = v2.Normalize(list(preprocessing.mean), list(preprocessing.std))
    return v2.Compose([*geometry[policy], *pixels, statistics])


@dataclass(frozen=True)
class BareData:
    """Files of training and validation images.

    Attributes:
        train: Paths and labels.
        val: Paths and labels.
        classes: How many.
        preprocessing: Sizes and statistics.
        workers: Of each DataLoader.
        cached: Decoded images by path, or None.
    """

    train: list[tuple[str, int]]
    val: list[tuple[str, int]]
    classes: int
    preprocessing: Preprocessing
    workers: int = 0
    cached: dict[str, Image.Image] | None = None

    @classmethod
    def of(cls, dataset: ImageDataset, source: str, *, workers: int = 0, cached: bool = False) -> BareData:
        """The files behind a dataset that is a folder, in its division.

        Args:
            dataset: Decoded by us; only its division is taken.
            source: The folder.
            workers: Of each DataLoader.
            cached: Decode everything now and keep it.
        """
        kept = [
            item for item in list_source(source, download_dir=Path(source)).items if item.name not in dataset.skipped
        ]
        paths = [str(item.content) for item in kept]

        def samples(split: ImageSplit) -> list[tuple[str, int]]:
            return [(paths[row], int(label)) for row, label in zip(split.indices, split.labels, strict=True)]

        train, val = (samples(split) for split in dataset.search_splits())
        decoded = {path: default_loader(path) for path, _ in [*train, *val]} if cached else None
        return cls(train, val, len(dataset.classes), dataset.preprocessing, workers, decoded)

    def loaders(self, config: TrialConfig) -> tuple[DataLoader[tuple[Tensor, int]], DataLoader[tuple[Tensor, int]]]:
        """Batches of an epoch of training, shuffled, and of validation."""
        train = Photos(self.train, transform(config.augmentation, self.preprocessing), self.cached)
        val = Photos(self.val, transform("none", self.preprocessing), self.cached)
        shared = {"num_workers": self.workers, "persistent_workers": self.workers > 0}
        # A last batch of one image is too small for batch norms.
        drop = len(train) % config.batch_size == 1 and len(train) > 1
        return (
            DataLoader(train, config.batch_size, shuffle=True, drop_last=drop, **shared),
            DataLoader(val, EVALUATION_BATCH, **shared),
        )


class BareNet(nn.Module):
    """Frozen layers without gradients in evaluation mode, trainable layers, head."""

    def __init__(self, backbone: Backbone, depth: int, head: nn.Module, batch_norm: str) -> None:
        super().__init__()
        self.frozen = backbone.segment(0, depth)
        self.body = backbone.segment(depth, len(backbone.units))
        self.head = head
        self._batch_norm = batch_norm
        self.body.requires_grad_(True)
        self.frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> BareNet:
        super().train(mode)
        self.frozen.eval()
        if self._batch_norm == "eval":
            for module in self.body.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.frozen(images)
        return self.head(self.body(features))


@dataclass(frozen=True)
class Stretch:
    """Epochs with one optimizer: units frozen, epochs, rates of head and body."""

    depth: int
    epochs: int
    head_rate: float
    body_rate: float


def stretches(config: TrialConfig, units: int) -> list[Stretch]:
    """What a configuration of one of the five usual strategies does."""
    rate = config.learning_rate
    tuned = rate * config.backbone_lr_ratio
    if config.strategy == "feature_extraction":
        return [Stretch(units, config.epochs, rate, 0.0)]
    if config.strategy == "scratch":
        return [Stretch(0, config.epochs, rate, rate)]
    if config.strategy == "lp_ft":
        probe = config.probe_epochs or max(1, config.epochs // 2)
        first = Stretch(units, probe, config.probe_learning_rate or rate, 0.0)
        return [first, Stretch(config.freeze_depth or 0, config.epochs - probe, rate, tuned)]
    depths = {"partial": config.freeze_depth, "full": 0}
    return [Stretch(depths[config.strategy] or 0, config.epochs, rate, tuned)]


def train(
    config: TrialConfig,
    data: BareData,
    pool: BackbonePool,
    *,
    seed: int,
    device: torch.device,
    on_epoch: OnEpoch = lambda epoch, score: None,
    stop_after: int | None = None,
) -> float:
    """Train a configuration; the best validation accuracy of its last stretch.

    Args:
        config: Of one of the five usual strategies.
        data: Files.
        pool: The rival's own, not that of a task.
        seed: Of head, order and augmentation.
        device: Where to train.
        on_epoch: Told number (over all stretches) and validation accuracy of each epoch.
        stop_after: Epochs, of all stretches, after which nothing more is done.
    """
    torch.manual_seed(seed)
    backbone = pool.fresh(pretrained=True, seed=seed)
    if config.strategy == "scratch":
        random = model_source(pool.spec.name).create(pool.spec.image_size, None)
        backbone.model.load_state_dict(random.state_dict())
    head = create_head(config.head, backbone.units[-1].output_shape, data.classes)
    backbone.to(device)
    done, best = 0, 0.0
    loaders = data.loaders(config)
    for stretch in stretches(config, len(backbone.units)):
        net = BareNet(backbone, stretch.depth, head, config.batch_norm).to(device)
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        limit = stretch.epochs if stop_after is None else min(stretch.epochs, stop_after - done)
        best, epochs = _train_stretch(net, config, stretch, loaders, device, done, limit, on_epoch)
        done += epochs
        if stop_after is not None and done >= stop_after:
            break
    return best


def _train_stretch(
    net: BareNet,
    config: TrialConfig,
    stretch: Stretch,
    loaders: tuple[DataLoader[tuple[Tensor, int]], DataLoader[tuple[Tensor, int]]],
    device: torch.device,
    first: int,
    limit: int,
    on_epoch: OnEpoch,
) -> tuple[float, int]:
    """Best validation accuracy, and epochs done."""
    batches, val = loaders
    optimizer = create_optimizer(config, net.head, net.body, stretch.head_rate, stretch.body_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(config, stretch.epochs * len(batches)))
    best, best_epoch, best_state = -1.0, 0, {}
    for epoch in range(limit):
        net.train()
        for images, labels in batches:
            images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
            with autocast(device, usual_precision(device)):
                logits = net(images)
            loss = F.cross_entropy(logits.float(), labels.to(device), label_smoothing=config.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        score = _validate(net, val, device)
        on_epoch(first + epoch, score)
        if score > best:
            best, best_epoch, best_state = score, epoch, _moving_state(net)
        if epoch - best_epoch >= config.patience:
            break
    net.load_state_dict(best_state, strict=False)
    return best, epoch + 1  # pyright: ignore[reportPossiblyUnboundVariable]


def _moving_state(net: BareNet) -> dict[str, Tensor]:
    state = {name: value for name, value in net.state_dict().items() if not name.startswith("frozen.")}
    return copy.deepcopy(state)


@torch.no_grad()
def _validate(net: BareNet, val: DataLoader[tuple[Tensor, int]], device: torch.device) -> float:
    net.eval()
    right = torch.zeros((), device=device)
    seen = 0
    for images, labels in val:
        with autocast(device, usual_precision(device)):
            logits = net(images.to(device, memory_format=torch.channels_last, non_blocking=True))
        right += (logits.argmax(dim=1) == labels.to(device)).sum()
        seen += len(labels)
    return float(right) / seen


def create_optimizer(
    config: TrialConfig, head: nn.Module, body: nn.Module, head_rate: float, body_rate: float
) -> torch.optim.Optimizer:
    """The configured optimizer: head and body at their rates, no weight decay on vectors."""
    groups = [
        {
            "params": [parameter for name, parameter in part.named_parameters() if decays(name, parameter) == decay],
            "lr": rate,
            "weight_decay": config.weight_decay if decay else 0.0,
        }
        for part, rate in ((head, head_rate), (body, body_rate))
        for decay in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    return torch.optim.AdamW(groups, fused=True)


def _rate(config: TrialConfig, steps: int) -> Callable[[int], float]:
    """Linear warm-up, then cosine, linear or constant."""
    warmup = round(config.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        shapes = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
        return shapes[config.schedule]

    return factor
