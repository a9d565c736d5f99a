from .cache_policy import is_small_enough
from .feature_source import FeatureSource, ImageSource, SubsetFeatures
from .feature_store import FeatureFileStore, FeatureStore, write_within

__all__ = [
    "FeatureFileStore",
    "FeatureSource",
    "FeatureStore",
    "ImageSource",
    "SubsetFeatures",
    "is_small_enough",
    "write_within",
]
