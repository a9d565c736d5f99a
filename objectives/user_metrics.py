"""Metrics of the user's: ``my_module:function`` of class probabilities and classes, whatever it computes.

Such a function knows no image weights. An image of weight k is repeated k times instead, so the function sees what a
resampled test set would be. Its module is imported when a value is first computed: readers of a study do without it
where the comparison of its finals is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInputError
from .user_code import find_function, function_source

Floats = NDArray[np.float64]

_KIND = "Metric"
# Values by metric, images and weights: the looks of a race resample the same images of the same finals.
_known: dict[tuple[str, str, str], Floats] = {}
_MOST = 4_096


def is_users(name: str) -> bool:
    """Whether a metric's name is that of a user's function."""
    return ":" in name


def metric_source(name: str) -> str:
    """A metric's name, of a user's with the digest of its code, for keys of what depends on it.

    Raises:
        InvalidInputError: See :func:`find_metric_function`.
    """
    return function_source(_KIND, name) if is_users(name) else name


def find_metric_function(name: str) -> Callable[..., Any]:
    """Import the function of a metric.

    Raises:
        InvalidInputError: There is none, its module raises, or it is no function.
    """
    return find_function(_KIND, name)


def prepare_resampled(name: str, probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Callable[..., Any]:
    """The metric of some images as a function of their weights, which are whole numbers.

    Args:
        name: Name of the metric.
        probabilities: Class probabilities (N, K).
        labels: Classes (N,).

    Returns:
        A function from weights (B, N) to values (B,).

    Raises:
        InvalidInputError: The function cannot be imported; or, when the values are computed, it raises or its value is
            not one number in [0, 1].
    """
    function = find_metric_function(name)
    images = _digest(probabilities, labels)

    def values(weights: Floats) -> Floats:
        key = (name, images, _digest(weights))
        if key not in _known:
            counts = weights.astype(np.int64)
            if not np.array_equal(counts, weights):
                raise ValueError("a metric of the user's takes whole weights only")
            # Indexing copies: the function may change what it gets.
            chosen = [np.repeat(np.arange(len(labels)), row) for row in counts]
            drawn = [_one_number(name, function, probabilities[rows], labels[rows]) for rows in chosen]
            if len(_known) >= _MOST:
                _known.clear()
            _known[key] = np.array(drawn)
        return _known[key].copy()

    return values


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _one_number(name: str, function: Callable[..., Any], *images: Any) -> float:
    try:
        found = function(*images)
    # The user's code.
    except Exception as error:
        raise InvalidInputError(
            f"{_KIND} {name!r} fails: {type(error).__name__}: {error}. It is called with probabilities (N, K) and "
            "classes (N,), two NumPy arrays."
        ) from error
    number = found.item() if getattr(found, "shape", None) == () else found
    if not isinstance(number, Real):
        shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
        raise InvalidInputError(f"{_KIND} {name!r} returns a {type(found).__name__}{shape}; it must return one number.")
    # Written so that NaN is refused too.
    if not 0 <= float(number) <= 1:
        raise InvalidInputError(
            f"{_KIND} {name!r} returns {float(number):g}; it must return a number from 0 to 1, the higher the better. "
            "Scale it, or return 1 - value for an error."
        )
    return float(number)
