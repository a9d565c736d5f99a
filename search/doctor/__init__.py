"""The doctor: finds and repairs inconsistencies of a study, and checks the machine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
