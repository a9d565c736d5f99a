"""Training: the loop of a phase, optimizers, moving average, logistic regression, checkpoint, stages, certificate."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
