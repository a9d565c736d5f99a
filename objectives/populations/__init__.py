"""Populations: many heads trained at once, with the same numbers as one at a time."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
