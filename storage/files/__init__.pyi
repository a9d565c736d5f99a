from .checkpoint_places import CheckpointPlace, artifacts_fault, checkpoint_place
from .checkpoints import CheckpointFolder, Checkpoints
from .feature_files import FeatureFiles
from .paced_checkpoints import PacedCheckpoints

__all__ = [
    "CheckpointFolder",
    "CheckpointPlace",
    "Checkpoints",
    "FeatureFiles",
    "PacedCheckpoints",
    "artifacts_fault",
    "checkpoint_place",
]
