from .execution import load_study, resume, run_search
from .slots import Resources
from .study import Request

__all__ = ["Request", "Resources", "load_study", "resume", "run_search"]
