"""Backbones of torchvision, timm or the user, traced, cut into units, with their weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
