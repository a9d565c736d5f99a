"""Predictions on the test split as columns of a table: little-endian arrays."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tested_columns(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Return the columns of a training that opens the test split now: ``labels``, ``probabilities``, ``test_opened``.

    Args:
        labels: True classes of the test images, shape (N,).
        probabilities: Class probabilities, shape (N, K).
    """
    return {
        "labels": pack_classes(labels),
        "probabilities": np.asarray(probabilities, dtype="<f4").tobytes(),
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


def unpack_probabilities(data: bytes, images: int) -> NDArray[np.float32]:
    """Decode class probabilities, shape (``images``, K), from a database column."""
    return np.frombuffer(data, dtype="<f4").reshape(images, -1)
