"""Dataset sources: from the name of a dataset to a list of labeled, undecoded images."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import InvalidInputError, unknown_name
from .folders import list_folder
from .listing import Listing
from .sklearn_digits import list_digits
from .torchvision_datasets import list_published


def list_source(source: str, *, download_dir: Path) -> Listing:
    """List the labeled images of a dataset.

    Args:
        source: One of

            - a folder of class folders, or of ``train/``, ``val/`` and ``test/`` with class folders in each (``val``
              and ``test`` may be missing; ``training_set``, ``valid``, ``dev``, ``testing`` and the like mean them);
            - ``sklearn:digits``: scikit-learn's 8 x 8 digits; ``sklearn:digits[5-9]`` or ``[0,1,4]`` selects classes;
              ``@200`` at the end gives 200 images, stratified, to training and validation and all others to the test
              split;
            - ``torchvision:NAME``: a classification dataset of torchvision with its published splits.
        download_dir: Folder for torchvision's downloads.

    Raises:
        InvalidInputError: There is no such dataset, or no study can use it; all faults at once.

    Example:
        >>> from pathlib import Path
        >>> from frostline.objectives.data import list_source
        >>> len(list_source("sklearn:digits", download_dir=Path("downloads")).items)
        1797
    """
    prefix, colon, name = source.partition(":")
    if colon and prefix == "torchvision":
        listing = list_published(name, download_dir)
    elif colon and prefix == "sklearn":
        listing = list_digits(name)
    elif colon and re.fullmatch(r"[A-Za-z]\w+", prefix) and not os.path.exists(source):
        raise InvalidInputError(
            unknown_name("dataset prefix", prefix, ("torchvision", "sklearn")) + " Or name a folder."
        )
    else:
        listing = list_folder(Path(os.path.expanduser(source)))
    if faults := listing.faults():
        raise InvalidInputError(faults)
    return listing
