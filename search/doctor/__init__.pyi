from .doctor import StudyReport, check_study
from .machine import inspect_machine
from .snapshot import Finding

__all__ = [
    "Finding",
    "StudyReport",
    "check_study",
    "inspect_machine",
]
