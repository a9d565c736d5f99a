from .cache_policy import is_small_enough
from .feature_source import FeatureSource, ImageSource, SubsetFeatures, evaluation_source, source_of, whole_of
from .feature_store import FeatureFileStore, FeatureStore, write_within

__all__ = [
    "FeatureFileStore",
    "FeatureSource",
    "FeatureStore",
    "ImageSource",
    "SubsetFeatures",
    "evaluation_source",
    "is_small_enough",
    "source_of",
    "whole_of",
    "write_within",
]
