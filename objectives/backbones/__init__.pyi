from .backbone import GIVEN, Backbone, bare_backbone, check_backbone, create_backbone, random_weights
from .first_layer import describe_first_layer
from .model_sources import model_source, preprocessing_for
from .torchvision_models import BackboneInfo, backbone_table
from .units import is_map
from .usable import require_usable
from .weights_files import is_weights_file, read_mappings, weights_path

__all__ = [
    "GIVEN",
    "Backbone",
    "BackboneInfo",
    "backbone_table",
    "bare_backbone",
    "check_backbone",
    "create_backbone",
    "describe_first_layer",
    "is_map",
    "is_weights_file",
    "model_source",
    "preprocessing_for",
    "random_weights",
    "read_mappings",
    "require_usable",
    "weights_path",
]
