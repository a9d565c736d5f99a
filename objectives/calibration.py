"""Temperature scaling: one number for a network, with which its probabilities say how often it is right.

The logits are divided by the temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks"). A temperature
above 1 makes the network less sure, one below 1 surer. The order of the classes stays, and so does the predicted class.
The functions take probabilities, whose logarithms are the logits up to a constant for each image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .metrics import Labels, Probabilities, check_probabilities, least_probability

# Metrics that show what a temperature changes.
CALIBRATED_METRICS = ("log_loss", "calibration_error")
# Largest factor by which logits are divided or multiplied.
MAX_FACTOR = 20.0


def fit_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Temperature with the least mean cross-entropy on images that the network was not trained on.

    The cross-entropy is convex in the inverse temperature. Where all of n images are right, it falls all the way as the
    temperature goes to 0, but so few images do not show that the network is always right. So a temperature below 1
    raises the mean probability of the predicted classes to (n + 1) / (n + 2) at most: the accuracy to expect if all n
    are right (Laplace's rule of succession).

    Args:
        probabilities: Class probabilities (N, K) of the images, not calibrated.
        labels: True classes (N,).

    Returns:
        The temperature, in [1 / 20, 20].

    Raises:
        ValueError: See :func:`~frostline.objectives.metrics.check_probabilities`.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.calibration import calibrate, fit_temperature
        >>> sure = np.array([[0.9, 0.1]] * 4)
        >>> temperature = fit_temperature(sure, np.array([0, 0, 0, 1]))
        >>> round(temperature, 3), calibrate(sure, temperature)[0].round(3).tolist()
        (2.0, [0.75, 0.25])
    """
    check_probabilities(probabilities, labels)
    logits, images = _logits(probabilities), len(labels)
    own = logits[np.arange(images), labels]

    def slope(inverse: float) -> float:
        """Derivative of the mean cross-entropy."""
        return float(np.mean((_softmax(inverse * logits) * logits).sum(axis=1) - own))

    def excess(inverse: float) -> float:
        """Mean probability of the predicted classes beyond what the images can show."""
        return float(np.mean(_softmax(inverse * logits).max(axis=1))) - (images + 1) / (images + 2)

    at_one = slope(1.0)
    if at_one > 0:
        return 1 / _zero(slope, 1 / MAX_FACTOR, 1.0)
    # If every class is as probable as the others, no temperature changes anything.
    return 1 / _zero(slope, 1.0, _zero(excess, 1.0, MAX_FACTOR)) if at_one < 0 else 1.0


def calibrate(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """Class probabilities float64 (N, K) of a network whose logits are divided by a temperature.

    Args:
        probabilities: Its class probabilities (N, K) without that.
        temperature: A positive number; with 1 the probabilities stay as they are, up to rounding.
    """
    return _softmax(_logits(probabilities) / temperature)


def _logits(probabilities: Probabilities) -> NDArray[np.float64]:
    """Logits (N, K) with these probabilities; the largest of each image is 0."""
    logits = np.log(np.maximum(probabilities, least_probability(probabilities)).astype(np.float64))
    return logits - logits.max(axis=1, keepdims=True)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (N, K) of logits of which none is above 0."""
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def _zero(increasing: Callable[[float], float], low: float, high: float) -> float:
    """Place where an increasing function is 0; the nearer bound if that is outside."""
    # Imported here: readers calibrate, but do not fit.
    from scipy.optimize import root_scalar

    if increasing(low) >= 0:
        return low
    if increasing(high) <= 0:
        return high
    return float(root_scalar(increasing, bracket=(low, high), method="brentq").root)
