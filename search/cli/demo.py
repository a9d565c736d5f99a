"""The two-minute demo: transfer a small network from the digits 0-4 to 5-9 with 200 images.

The data are real (scikit-learn's digits, 8 x 8 scans of handwriting), and nothing is downloaded. The demo trains the
network first; then all strategies compete in an ordinary search.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from ...objectives.backbones import preprocessing_for
from ...objectives.config import BackboneSpec, TrialConfig
from ...objectives.data import prepare_dataset
from ...objectives.devices import choose_device
from ...objectives.features import FeatureStore
from ...objectives.finetune import Task, finetune
from ...objectives.networks import BackbonePool
from ...storage.workspace import Workspace
from ..study import Observer, Request

BACKBONE, IMAGE_SIZE = "shufflenet_v2_x0_5", 32
KNOWN, TAUGHT = "sklearn:digits[0-4]", "sklearn:digits[5-9]@200"
_PRETRAINING = TrialConfig(
    strategy="scratch", learning_rate=3e-3, weight_decay=1e-2, warmup=0.1, augmentation="crop", epochs=12
)


def demo_request(workspace: Workspace, observer: Observer, *, device: str = "auto") -> Request:
    """Pretrain the network unless the workspace has it, and return the request of the search."""
    weights = workspace.create().root / "demo" / "digits-0-4.safetensors"
    if not weights.exists():
        observer.note(f"pretraining {BACKBONE} on the digits 0-4")
        accuracy = _pretrain(weights, workspace, device)
        observer.note(f"pretrained: {accuracy:.1%} validation accuracy")
    return Request(
        data=TAUGHT,
        backbone=BACKBONE,
        weights=str(weights),
        image_size=IMAGE_SIZE,
        trials=15,
        name="demo",
        space=Path(__file__).with_name("demo_space.toml"),
        device=device,
    )


def _pretrain(weights: Path, workspace: Workspace, device: str) -> float:
    preprocessing = preprocessing_for(BACKBONE, "none", IMAGE_SIZE)
    train, val = prepare_dataset(KNOWN, preprocessing, cache_dir=workspace.images, seed=0).search_splits()
    pool = BackbonePool(BackboneSpec(BACKBONE, "none", IMAGE_SIZE))
    task = Task(train, val, pool, "accuracy", choose_device(device), FeatureStore(0))
    result = finetune(_PRETRAINING, task, seed=0)
    weights.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.to("cpu", torch.float32).contiguous() for name, value in result.network.backbone_state().items()
    }
    draft = weights.with_suffix(".part")
    save_file(state, draft, metadata={"arch": BACKBONE, "classes": "0,1,2,3,4"})
    draft.replace(weights)
    return result.score
