"""Files: checkpoints and the places they are kept in, feature files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
