"""The model stock of the recommended strategy's seeds: whether it is the network to ship.

One network of all seeds' weights (Jang et al. 2024; ``objectives/networks/model_stock.py``). It is shipped where it
validates better than each of them, and tested then: test images do not choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..records import FinalScores

# Stands for the seed of a stock, which was trained with several.
STOCK = -1


@dataclass(frozen=True)
class ModelStock:
    """A model stock beside the networks that it is made of.

    Attributes:
        finalist: Name of the configuration.
        seeds: Seeds of its networks.
        val_score: Validation score of the stock, in [0, 1]; None where these networks have no stock.
        best_val_score: Highest validation score of a single network.
        final: Scores and costs of the stock where it is the network to ship, else None. Its seed is :data:`STOCK`.
    """

    finalist: str
    seeds: tuple[int, ...]
    val_score: float | None
    best_val_score: float
    final: FinalScores | None = None

    def is_of(self, finals: Sequence[FinalScores]) -> bool:
        """Return whether it was made of exactly these finals."""
        return sorted(self.seeds) == sorted(final.seed for final in finals) and all(
            final.finalist == self.finalist for final in finals
        )

    def sentence(self) -> str:
        """Say what is shipped instead of a single network; nothing if none is.

        >>> scores = FinalScores("full", 3, STOCK, 0.92, 0.905, 10.0, 100)
        >>> ModelStock("full-3", (1000, 1001), 0.92, 0.9, scores).sentence()
        'The network to ship is a model stock of 2 seeds of full: 92.0 % on ... 90.5 % on the test images.'
        """
        if self.final is None or self.val_score is None:
            return ""
        return (
            f"The network to ship is a model stock of {len(self.seeds)} seeds of {self.final.strategy}: "
            f"{100 * self.val_score:.1f} % on the validation images, where the best single network has "
            f"{100 * self.best_val_score:.1f} %; {100 * self.final.test_score:.1f} % on the test images."
        )

    def describe(self) -> dict[str, Any]:
        """Return plain values for people's programs."""
        test_score = None if self.final is None else self.final.test_score
        described = {name: getattr(self, name) for name in ("finalist", "seeds", "val_score", "best_val_score")}
        return {**described, "shipped": self.final is not None, "test_score": test_score}

    def to_row(self) -> dict[str, Any]:
        """Return plain values to keep in the database."""
        final = None if self.final is None else self.final.to_row()
        return {**asdict(self), "seeds": list(self.seeds), "final": final}

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> ModelStock:
        """Return the stock whose plain values :meth:`to_row` gave."""
        final = None if row["final"] is None else FinalScores.from_row(row["final"], STOCK)
        return ModelStock(**{**row, "seeds": tuple(row["seeds"]), "final": final})


def best_final(finals: Sequence[FinalScores]) -> FinalScores:
    """Return the final with the best validation score; of equals, the one with the lowest seed."""
    return max(finals, key=lambda final: (final.val_score, -final.seed))


def shipped_final(finals: Sequence[FinalScores], stock: ModelStock | None) -> FinalScores:
    """Return the final of a configuration whose network is shipped: the best single one's, or their stock's.

    Args:
        finals: Finals of the configuration.
        stock: The stock of the study's recommended strategy, if there is one.
    """
    single = best_final(finals)
    return stock.final if stock is not None and stock.final is not None and stock.is_of(finals) else single
