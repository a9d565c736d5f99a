"""Precision of the arithmetic: a record that readers open without torch.

In bfloat16, PyTorch's automatic mixed precision computes products of matrices and convolutions with 8 bits of mantissa
(Micikevicius et al. 2018, "Mixed Precision Training"; Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning
Training"). Weights, statistics of batch norms, heads, losses, averages and states of optimizers stay float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# What a user can ask for: auto takes the faster one.
AUTO = "auto"
PRECISIONS = (AUTO, FLOAT32, BFLOAT16)


@dataclass(frozen=True)
class Precision:
    """Precision of a network's backbone: of its frozen part, whose features are kept, and of the part that trains.

    Attributes:
        frozen: ``float32`` or ``bfloat16``.
        trained: ``float32`` or ``bfloat16``.

    Example:
        >>> from frostline.objectives.precision import Precision
        >>> Precision("bfloat16").sentence
        'features in bfloat16, training in float32'
    """

    frozen: str = FLOAT32
    trained: str = FLOAT32

    @classmethod
    def both(cls, name: str) -> Precision:
        """One precision for both parts."""
        return cls(name, name)

    @property
    def names(self) -> set[str]:
        """The precisions that occur."""
        return {self.frozen, self.trained}

    @property
    def sentence(self) -> str:
        """The precision in words."""
        if self.frozen == self.trained:
            return self.frozen
        return f"features in {self.frozen}, training in {self.trained}"


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision of a study, and what it was chosen for.

    Attributes:
        precision: The precision.
        gains: Seconds in float32 divided by seconds in bfloat16: of the frozen part, and of the part that trains; None
            where that was not measured.
        error: Error of the features in bfloat16, relative to their norm; None if it was not measured.
        reason: Why nothing was measured, or why bfloat16 does not suit; empty where the gains alone decide.
    """

    precision: Precision = Precision()
    gains: tuple[float, float] | None = None
    error: float | None = None
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The choice in words."""
        said = self.precision.sentence
        if self.reason:
            return f"{said}: {self.reason}"
        if self.gains is None:
            return said
        frozen, trained = self.gains
        return f"{said}: with bfloat16 features take {1 / frozen:.2f} and training {1 / trained:.2f} times as long"

    def to_row(self) -> dict[str, Any]:
        """Plain values to keep in a database or file."""
        return asdict(self)

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> PrecisionChoice:
        """The choice that :meth:`to_row` gave."""
        gains = row["gains"]
        return PrecisionChoice(
            **{**row, "precision": Precision(**row["precision"]), "gains": None if gains is None else tuple(gains)}
        )


# What a trained network computes in where it is tested, exported and served.
EXACT = Precision()
