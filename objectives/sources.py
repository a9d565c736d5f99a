"""Where images come from: what the user calls a dataset becomes a list of labelled images, still undecoded."""

from __future__ import annotations

import re
from pathlib import Path

from .digits import list_digits
from .errors import InvalidInputError, unknown_name
from .folders import list_folder
from .listing import Listing
from .published import list_published


def list_source(source: str, *, download_dir: Path) -> Listing:
    """List the labelled images of a dataset.

    Args:
        source: One of

            - a folder of class folders, or of ``train/``, ``val/`` and ``test/`` with class folders in each (``val``
              and ``test`` may be missing; ``training``, ``valid``, ``validation`` and ``testing`` are understood);
            - ``sklearn:digits``: scikit-learn's 8 x 8 digits; ``sklearn:digits[5-9]`` or ``[0,1,4]`` takes some
              classes only; ``@200`` at the end leaves 200 images, stratified, for training and validation together and
              makes all the others the test split;
            - ``torchvision:NAME``: a classification set of torchvision with the splits it was published with.
        download_dir: Where torchvision keeps what it downloads.

    Raises:
        InvalidInputError: No such dataset, or one that no study can use; all faults at once.
    """
    prefix, colon, name = source.partition(":")
    if colon and prefix == "torchvision":
        listing = list_published(name, download_dir)
    elif colon and prefix == "sklearn":
        listing = list_digits(name)
    elif colon and re.fullmatch(r"[A-Za-z]\w+", prefix) and not Path(source).exists():
        raise InvalidInputError(
            unknown_name("dataset prefix", prefix, ("torchvision", "sklearn")) + " Or give a folder."
        )
    else:
        listing = list_folder(Path(source).expanduser())
    if faults := listing.faults():
        raise InvalidInputError(faults)
    return listing
