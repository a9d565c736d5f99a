from .curve_trainings import run_curve
from .run import join, load_study, request_run, rerun_finals, resume, run_search
from .truncation import run_truncation

__all__ = [
    "join",
    "load_study",
    "request_run",
    "rerun_finals",
    "resume",
    "run_curve",
    "run_search",
    "run_truncation",
]
