from .backbone_pool import BackbonePool
from .classifier import Classifier, PixelClassifier
from .export import (
    ModelCard,
    TrainedModel,
    holds_network,
    load_classifier,
    load_network,
    read_card,
    save_network,
)
from .frozen_prefix import CANONICAL_BATCH, FrozenPrefix, state_hash
from .heads import CosineLinear, Dropout, FixedPooling, create_head, drop
from .lora import add_lora
from .network import Network

__all__ = [
    "CANONICAL_BATCH",
    "BackbonePool",
    "Classifier",
    "CosineLinear",
    "Dropout",
    "FixedPooling",
    "FrozenPrefix",
    "ModelCard",
    "Network",
    "PixelClassifier",
    "TrainedModel",
    "add_lora",
    "create_head",
    "drop",
    "holds_network",
    "load_classifier",
    "load_network",
    "read_card",
    "save_network",
    "state_hash",
]
