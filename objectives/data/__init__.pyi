from .bands import decode_canvas
from .channel_counts import TIFF_LIBRARIES
from .dataset import AuditedImages, ImageDataset, decode_dataset, prepare_dataset
from .dataset_sources import Listing, list_source
from .decoding import EncodedImage, UndecodableImageError, decode_image, quiet_decoding, to_canvas, to_rgb, upright
from .duplicates import exact_groups, joined, near_pairs
from .faults import Copies, DataFaults, FoundImage, LabelError, StraddlingGroup, describe_faults
from .folders import images_below
from .folds import divide_folds, fold_faults
from .gallery import Gallery, find_gallery, visible
from .image_split import ImageSplit, ImageSubset
from .json_files import read_json, write_json
from .label_errors import doubtful_labels, never_right, out_of_fold
from .listing_options import ListingOptions, option_name
from .manifests import UnlabeledRow, holds_table, list_rows
from .nearness import Nearness, class_separation
from .pixel_scale import Levels, PixelScale
from .scan import readable
from .splits import resolve_splits
from .subsets import take_subset
from .threads import in_threads

__all__ = [
    "TIFF_LIBRARIES",
    "AuditedImages",
    "Copies",
    "DataFaults",
    "EncodedImage",
    "FoundImage",
    "Gallery",
    "ImageDataset",
    "ImageSplit",
    "ImageSubset",
    "LabelError",
    "Levels",
    "Listing",
    "ListingOptions",
    "Nearness",
    "PixelScale",
    "StraddlingGroup",
    "UndecodableImageError",
    "UnlabeledRow",
    "class_separation",
    "decode_canvas",
    "decode_dataset",
    "decode_image",
    "describe_faults",
    "divide_folds",
    "doubtful_labels",
    "exact_groups",
    "find_gallery",
    "fold_faults",
    "holds_table",
    "images_below",
    "in_threads",
    "joined",
    "list_rows",
    "list_source",
    "near_pairs",
    "never_right",
    "option_name",
    "out_of_fold",
    "prepare_dataset",
    "quiet_decoding",
    "read_json",
    "readable",
    "resolve_splits",
    "take_subset",
    "to_canvas",
    "to_rgb",
    "upright",
    "visible",
    "write_json",
]
