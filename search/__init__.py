"""What to try next: settings, space, sampler, pruner, trial loop, finals, verdict, command line.

from frostline.search import Request, run_search
study = run_search(Request(data="photos", backbone="resnet18", trials=30))
print(study.results().verdict.sentence())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .execution.run import load_study, resume, run_search
    from .slots.resources import Resources
    from .study.request import Request

__all__ = ["Request", "Resources", "load_study", "resume", "run_search"]
# Where they are, if not with the running.
_ELSEWHERE = {"Request": "study.request", "Resources": "slots.resources"}


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line asks for this package and must not wait for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ELSEWHERE.get(name, 'execution.run')}", __name__), name)
