from .backbone import GIVEN, Backbone, bare_backbone, check_backbone, create_backbone, random_weights
from .model_sources import preprocessing_for
from .torchvision_models import BackboneInfo, backbone_table
from .units import is_map
from .weights import SUFFIXES

__all__ = [
    "GIVEN",
    "SUFFIXES",
    "Backbone",
    "BackboneInfo",
    "backbone_table",
    "bare_backbone",
    "check_backbone",
    "create_backbone",
    "is_map",
    "preprocessing_for",
    "random_weights",
]
