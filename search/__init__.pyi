from .api import FrostlineError, Study, VerdictRecord, list_studies, load_study, resume, run_search
from .space import Domain

__all__ = [
    "Domain",
    "FrostlineError",
    "Study",
    "VerdictRecord",
    "list_studies",
    "load_study",
    "resume",
    "run_search",
]
