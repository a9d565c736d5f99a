"""What to try next: settings, space, sampler, pruner, trial loop, finals, verdict, command line.

from frostline.search import run_search
study = run_search("photos", backbone="resnet18", trials=30)
print(study.verdict)
"""

import lazy_loader

# First, since it sets how threads wait before torch is loaded.
from .. import objectives as objectives

# Imported on first use: the command line asks for this package and must not wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
