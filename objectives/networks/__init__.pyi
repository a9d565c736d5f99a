from .backbone_pool import BackbonePool
from .export import ModelCard, save_network
from .frozen_prefix import CANONICAL_BATCH, FrozenPrefix, state_hash
from .heads import CosineLinear, Dropout, FixedPooling, create_head, drop
from .lora import add_lora
from .network import Network

__all__ = [
    "CANONICAL_BATCH",
    "BackbonePool",
    "CosineLinear",
    "Dropout",
    "FixedPooling",
    "FrozenPrefix",
    "ModelCard",
    "Network",
    "add_lora",
    "create_head",
    "drop",
    "save_network",
    "state_hash",
]
