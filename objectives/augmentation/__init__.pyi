from .mixing import Mix, Mixer, mixed_loss
from .policies import random_ops
from .views import AugmentedViews, center_crop

__all__ = [
    "AugmentedViews",
    "Mix",
    "Mixer",
    "center_crop",
    "mixed_loss",
    "random_ops",
]
