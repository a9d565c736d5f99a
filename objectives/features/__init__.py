"""Features of the frozen prefix: their source, their store and its cache policy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
