"""Comparisons that were made before: resampling takes longer than everything else that showing a study does."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...objectives import metrics
from ...objectives.data import read_json, write_json
from . import comparison as comparing
from . import score_draws, seed_spread
from .comparison import Comparison, Gap, Interval, Ranked, compare


@dataclass(frozen=True)
class KeptComparisons:
    """Comparisons in files, each under the digest of all that it depends on: finals, metric, seed and code.

    Guarantees:
    - A file appears as a whole, so a kill leaves none that is incomplete. One that cannot be read is made again.
    - Any number of processes may use the folder. One that cannot be written to only costs the time of comparing.

    Attributes:
        folder: Made when first needed.
    """

    folder: Path

    def __call__(self, ranked: Ranked, metric: str, seed: int) -> Comparison:
        """Return :func:`~frostline.search.analysis.comparison.compare` of the same arguments."""
        file = self.folder / f"{_digest(ranked, metric, seed)}.json"
        try:
            return _comparison(read_json(file))
        except (ValueError, KeyError, TypeError):
            comparison = compare(ranked, metric, seed)
        with suppress(OSError):
            # JSON keeps every digit of a float.
            write_json(file, asdict(comparison))
        return comparison


def _comparison(kept: Any) -> Comparison:
    return Comparison(
        score_intervals=tuple(map(_interval, kept["score_intervals"])),
        gaps=tuple(
            Gap(
                _interval(gap["interval"]),
                *(float(gap[name]) for name in ("image_error", "seed_error", "likely_at_most")),
            )
            for gap in kept["gaps"]
        ),
        best_shares=tuple(float(share) for share in kept["best_shares"]),
    )


def _interval(kept: Any) -> Interval:
    low, high = kept
    return float(low), float(high)


def _digest(ranked: Ranked, metric: str, seed: int) -> str:
    digest = hashlib.sha256(f"{metric} {seed} {[len(group) for group in ranked]}".encode())
    for module in (comparing, score_draws, seed_spread, metrics):
        digest.update(Path(str(module.__file__)).read_bytes())
    for array in (ranked[0][0].labels, *(final.probabilities for group in ranked for final in group)):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
