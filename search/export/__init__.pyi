from .folder import Exported, export_study
from .kept import KeptNetwork, load_classifier_of, load_kept, open_kept

__all__ = [
    "Exported",
    "KeptNetwork",
    "export_study",
    "load_classifier_of",
    "load_kept",
    "open_kept",
]
