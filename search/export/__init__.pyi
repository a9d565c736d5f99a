from .folder import Exported, export_study
from .kept import KeptNetwork, load_classifier_of, load_kept, open_kept
from .trial_script import write_script

__all__ = [
    "Exported",
    "KeptNetwork",
    "export_study",
    "load_classifier_of",
    "load_kept",
    "open_kept",
    "write_script",
]
