"""The Python interface: run a search, open a study, read its verdict, trials, network and report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
