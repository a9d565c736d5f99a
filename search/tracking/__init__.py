"""Tracking: the MLflow runs of trials, finals and the verdict, and the registered models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
