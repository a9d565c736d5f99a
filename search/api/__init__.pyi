from .errors import FrostlineError
from .searches import resume, run_search
from .stored_studies import list_studies, load_study
from .study import Study
from .verdict import ContenderRecord, VerdictRecord, describe_verdict

__all__ = [
    "ContenderRecord",
    "FrostlineError",
    "Study",
    "VerdictRecord",
    "describe_verdict",
    "list_studies",
    "load_study",
    "resume",
    "run_search",
]
