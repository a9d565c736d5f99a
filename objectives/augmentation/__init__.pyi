from .mixing import Mix, Mixer, mixed_loss
from .policies import random_ops
from .views import AugmentedViews

__all__ = [
    "AugmentedViews",
    "Mix",
    "Mixer",
    "mixed_loss",
    "random_ops",
]
