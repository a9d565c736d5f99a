"""A folder of scikit-learn's digits 0 to 2 with few test images, which every final and every verdict pays for.

The images to train on are those of ``sklearn:digits[0-2]@60``, which has 477 to test.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

from frostline.objectives.data.sklearn_digits import list_digits

_ROOT = "FEW_DIGITS"


@cache
def few_digits(train: int = 60, test: int = 20) -> str:
    """Name of the folder, which a process of tests makes once and removes at its end.

    Args:
        train: Images of all classes to train on and to validate.
        test: Images of each class to test.
    """
    folder, written = _root() / f"{train}-{test}", Counter[tuple[str, int]]()
    if folder.exists():
        return str(folder)
    for item in list_digits(f"digits[0-2]@{train}").items:
        split = str(item.split)
        written[split, item.label] += 1
        if split == "train" or written[split, item.label] <= test:
            file = folder / split / str(item.label) / f"{item.name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            content = item.content
            assert callable(content)
            content().save(file)
    return str(folder)


def _root() -> Path:
    """The folder of this process, or of the one that started it."""
    if _ROOT not in os.environ:
        os.environ[_ROOT] = tempfile.mkdtemp(prefix="digits")
        atexit.register(shutil.rmtree, os.environ[_ROOT], ignore_errors=True)
    return Path(os.environ[_ROOT])
