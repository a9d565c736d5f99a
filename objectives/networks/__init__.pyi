from .backbone_pool import BackbonePool
from .export import ModelCard, save_network
from .frozen_prefix import CANONICAL_BATCH, FrozenPrefix, state_hash
from .heads import CosineLinear, Dropout, FixedPooling, create_head, drop
from .lora import add_lora
from .network import Network
from .serving_costs import as_served, measure_latency, measure_serving, size_in_bytes

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
    "as_served",
    "create_head",
    "drop",
    "measure_latency",
    "measure_serving",
    "save_network",
    "size_in_bytes",
    "state_hash",
]
