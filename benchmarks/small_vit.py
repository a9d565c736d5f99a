"""A small vision transformer for 64-pixel images, and its pretraining on satellite photos.

No published weights of a transformer are at hand where these benchmarks run, so one is trained here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torchvision.models import VisionTransformer

from benchmarks.harness import SHARED, Setting
from frostline.objectives.config import create_config
from frostline.objectives.finetune import finetune
from frostline.objectives.preprocessing import Preprocessing

SIZE = 64
NAME = "benchmarks.small_vit:create"
# The factory's weights are random ones.
_PRETRAINING = {
    "strategy": "full",
    "backbone_lr_ratio": 1.0,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "warmup": 0.1,
    "batch_size": 64,
    "augmentation": "flip_crop",
    "patience": 1000,
}


def create(num_classes: int = 10) -> VisionTransformer:
    """The network: (N, 3, 64, 64) to logits (N, num_classes), 64 tokens of 128 numbers, 6 layers."""
    return VisionTransformer(
        image_size=SIZE,
        patch_size=8,
        num_layers=6,
        num_heads=4,
        hidden_dim=128,
        mlp_dim=256,
        num_classes=num_classes,
    )


_factory: Any = create
_factory.preprocessing = Preprocessing(SIZE, SIZE, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def pretrain(file: Path, cache: Path, epochs: int) -> float:
    """Train on EuroSAT from random weights, and write the weights.

    Args:
        file: Weights file to write.
        cache: Folder of the decoded images.
        epochs: Number of epochs.

    Returns:
        Validation accuracy.
    """
    setting = Setting(data=str(SHARED / "data/eurosat"), backbone=NAME, weights="DEFAULT", image_size=SIZE)
    result = finetune(create_config({**_PRETRAINING, "epochs": epochs}), setting.task(setting.dataset(cache)), seed=0)
    save_file({name: value.contiguous() for name, value in result.network.backbone_state().items()}, file)
    return result.score
