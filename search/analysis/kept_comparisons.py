"""Comparisons that were made before: resampling takes longer than everything else that showing a study does."""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...objectives import metrics
from . import verdict
from .verdict import Comparison, Ranked, compare


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
        """Return :func:`~frostline.search.analysis.verdict.compare` of the same arguments."""
        file = self.folder / f"{_digest(ranked, metric, seed)}.json"
        try:
            return _comparison(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            comparison = compare(ranked, metric, seed)
            self._keep(file, comparison)
            return comparison

    def _keep(self, file: Path, comparison: Comparison) -> None:
        part = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # JSON keeps every digit of a float.
            part.write_text(json.dumps(asdict(comparison)), encoding="utf-8")
            part.replace(file)
        except OSError:
            with suppress(OSError):
                part.unlink()


def _comparison(kept: dict[str, Any]) -> Comparison:
    return Comparison(
        score_intervals=tuple((float(low), float(high)) for low, high in kept["score_intervals"]),
        intervals=tuple((float(low), float(high)) for low, high in kept["intervals"]),
        best_shares=tuple(float(share) for share in kept["best_shares"]),
    )


def _digest(ranked: Ranked, metric: str, seed: int) -> str:
    digest = hashlib.sha256(f"{metric} {seed} {[len(group) for group in ranked]}".encode())
    for module in (verdict, metrics):
        digest.update(Path(str(module.__file__)).read_bytes())
    for array in (ranked[0][0].labels, *(final.probabilities for group in ranked for final in group)):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
