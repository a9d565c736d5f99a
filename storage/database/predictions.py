"""Predictions on the test split as columns of a table: little-endian arrays.

Probabilities keep their precision: float64 holds all that a log loss needs; earlier versions stored float32.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tested_columns(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> dict[str, Any]:
    """Return the columns of a training that opens the test split now.

    Args:
        labels: True classes of the test images, shape (N,).
        probabilities: Class probabilities, float32 or float64, shape (N, K).

    Returns:
        ``labels``, ``probabilities``, ``probability_bytes`` (the size of each of them) and ``test_opened``.
    """
    size = probabilities.dtype.itemsize
    return {
        "labels": pack_classes(labels),
        "probabilities": np.asarray(probabilities, dtype=f"<f{size}").tobytes(),
        "probability_bytes": size,
        "test_opened": datetime.now(UTC).replace(tzinfo=None),
    }


def pack_classes(classes: NDArray[np.int64]) -> bytes:
    """Encode class indices, shape (N,), for a database column.

    Examples:
        >>> import numpy as np
        >>> from frostline.storage.database.predictions import pack_classes, unpack_classes
        >>> unpack_classes(pack_classes(np.array([2, 0, 1]))).tolist()
        [2, 0, 1]
    """
    return np.asarray(classes, dtype="<i4").tobytes()


def unpack_classes(data: bytes) -> NDArray[np.int64]:
    """Decode class indices, shape (N,), from a database column."""
    return np.frombuffer(data, dtype="<i4").astype(np.int64)


def unpack_probabilities(data: bytes, size: int | None, images: int) -> NDArray[np.floating]:
    """Decode class probabilities, shape (``images``, K), from a database column.

    Args:
        data: The column ``probabilities``.
        size: The column ``probability_bytes``; None in rows of versions that stored float32.
        images: Number of test images.
    """
    return np.frombuffer(data, dtype=f"<f{size or 4}").reshape(images, -1)
