"""Nearness of a dataset to the data of the pretraining, as far as pretrained features tell; as a record for readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Nearness:
    """What the pretrained features know of the training and validation images.

    Attributes:
        pretrained: Balanced accuracy, out of fold, of a probe on the pretrained network's last features, in [0, 1].
        random: The same with random weights.
        separation: Share of the variance of the pretrained features that is between classes, in [0, 1]; see
            :func:`class_separation`.
        reason: Why nothing was measured; empty if it was.
    """

    pretrained: float = 0.0
    random: float = 0.0
    separation: float = 0.0
    reason: str = ""

    @property
    def probe_gap(self) -> float:
        """Return the share of the random network's errors that pretraining removes; below 0 if it adds some.

        >>> round(Nearness(pretrained=0.9, random=0.6).probe_gap, 2)
        0.75
        """
        return 1 - (1 - self.pretrained) / max(1 - self.random, 1e-9)

    def to_row(self) -> dict[str, Any]:
        """Return the plain values to keep in the database."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Nearness:
        """Return what :meth:`to_row` gave."""
        return cls(**row)


def class_separation(features: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the share of the variance of standardized features (N, D) that is between classes; 0 without variance.

    It is 1 where all images of a class have the same features, and near (K - 1) / (N - 1) where classes mean nothing.

    >>> import numpy as np
    >>> class_separation(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0, 0, 1, 1]))
    1.0
    """
    values = features.astype(np.float64)
    spread = values.std(axis=0)
    standard = (values - values.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    if standard.size == 0:
        return 0.0
    between = sum((labels == label).mean() * standard[labels == label].mean(axis=0) ** 2 for label in np.unique(labels))
    return float(np.mean(between))
