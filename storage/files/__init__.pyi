from .checkpoint_places import CheckpointPlace, artifacts_fault, checkpoint_place
from .checkpoints import CheckpointFolder, Checkpoints
from .feature_files import FeatureFiles

__all__ = [
    "CheckpointFolder",
    "CheckpointPlace",
    "Checkpoints",
    "FeatureFiles",
    "artifacts_fault",
    "checkpoint_place",
]
