"""Slots: resources, engines (this machine, Ray), and the process of a slot."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
