from .dataset import ImageDataset, ImageSplit, decode_dataset, prepare_dataset
from .dataset_sources import Listing, list_source
from .decoding import EncodedImage, UndecodableImageError, decode_image, to_canvas
from .gallery import Gallery, find_gallery
from .json_files import read_json, write_json
from .splits import resolve_splits
from .subsets import ImageSubset, take_subset

__all__ = [
    "EncodedImage",
    "Gallery",
    "ImageDataset",
    "ImageSplit",
    "ImageSubset",
    "Listing",
    "UndecodableImageError",
    "decode_dataset",
    "decode_image",
    "find_gallery",
    "list_source",
    "prepare_dataset",
    "read_json",
    "resolve_splits",
    "take_subset",
    "to_canvas",
    "write_json",
]
