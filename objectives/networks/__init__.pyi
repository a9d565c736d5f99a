from .backbone_pool import BackbonePool
from .classifier import Classifier, PixelClassifier
from .export import (
    CARD,
    WEIGHTS,
    ModelCard,
    TrainedModel,
    copy_network,
    holds_network,
    load_classifier,
    load_network,
    read_card,
    read_weights,
    save_network,
)
from .frozen_prefix import CANONICAL_BATCH, FrozenPrefix, as_run, state_hash
from .heads import (
    CosineLinear,
    DepthPool,
    Dropout,
    FixedPooling,
    create_head,
    drop,
    head_for,
    initialize_head,
    seen_by_head,
)
from .lora import LowRank, adaptable, add_lora
from .model_stock import model_stock
from .network import Network
from .programs import (
    OPSET,
    NotExportedError,
    make_program,
    missing_onnx_libraries,
    write_onnx,
    write_program,
)
from .serving_costs import as_served, measure_latency, measure_serving, size_in_bytes
from .user_heads import create_user_head, find_head, head_source, require_new_heads

__all__ = [
    "CANONICAL_BATCH",
    "CARD",
    "OPSET",
    "WEIGHTS",
    "BackbonePool",
    "Classifier",
    "CosineLinear",
    "DepthPool",
    "Dropout",
    "FixedPooling",
    "FrozenPrefix",
    "LowRank",
    "ModelCard",
    "Network",
    "NotExportedError",
    "PixelClassifier",
    "TrainedModel",
    "adaptable",
    "add_lora",
    "as_run",
    "as_served",
    "copy_network",
    "create_head",
    "create_user_head",
    "drop",
    "find_head",
    "head_for",
    "head_source",
    "holds_network",
    "initialize_head",
    "load_classifier",
    "load_network",
    "make_program",
    "measure_latency",
    "measure_serving",
    "missing_onnx_libraries",
    "model_stock",
    "read_card",
    "read_weights",
    "require_new_heads",
    "save_network",
    "seen_by_head",
    "size_in_bytes",
    "state_hash",
    "write_onnx",
    "write_program",
]
