"""Comparisons that were made before: resampling takes longer than everything else that showing a study does."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from ...objectives import metrics, user_metrics
from ...objectives.data import read_json, write_json
from . import comparison as comparing
from . import outlook, score_draws, seed_spread
from .comparison import ONLY_LOOK, Comparison, Look, Ranked, compare

_COMPARISON = TypeAdapter(Comparison)


@dataclass(frozen=True)
class KeptComparisons:
    """Comparisons in files, each under the digest of all that it depends on: finals, metric, seed, look, code.

    Guarantees:
    - A file appears as a whole, so a kill leaves none that is incomplete. One that cannot be read is made again.
    - Any number of processes may use the folder. One that cannot be written to only costs the time of comparing.

    Attributes:
        folder: Made when first needed.
    """

    folder: Path

    def __call__(self, ranked: Ranked, metric: str, seed: int, look: Look = ONLY_LOOK) -> Comparison:
        """Return :func:`~frostline.search.analysis.comparison.compare` of the same arguments."""
        file = self.folder / f"{_digest(ranked, metric, seed, look)}.json"
        try:
            return _COMPARISON.validate_python(read_json(file))
        except ValueError:
            comparison = compare(ranked, metric, seed, look)
        with suppress(OSError):
            # JSON keeps every digit of a float.
            write_json(file, asdict(comparison))
        return comparison


def _digest(ranked: Ranked, metric: str, seed: int, look: Look) -> str:
    digest = hashlib.sha256(f"{metric} {seed} {look} {[len(group) for group in ranked]}".encode())
    for module in (comparing, outlook, score_draws, seed_spread, metrics, user_metrics):
        digest.update(Path(str(module.__file__)).read_bytes())
    # What a metric of the user's computes shows in the scores, which need no import of it.
    digest.update(repr([final.test_score for group in ranked for final in group]).encode())
    for array in (ranked[0][0].labels, *(final.probabilities for group in ranked for final in group)):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
