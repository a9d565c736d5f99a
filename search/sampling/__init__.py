"""Sampling: the budget per strategy, TPE within a strategy, the pruner, the costs of trials."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
