"""The starts of a study: configurations of earlier studies that its first trials after the defaults have."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

# At most so many names of studies are listed.
LISTED = 5


class Start(BaseModel):
    """A configuration that a study takes over from an earlier one.

    Attributes:
        strategy: Name of the strategy.
        study: Name of the earlier study.
        score: Its mean validation score there, in [0, 1].
        values: Values of the parameters that the study searches, by dotted name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    study: str
    score: float
    values: dict[str, bool | int | float | str]


def starts_sentence(starts: Iterable[Start]) -> str:
    """Return from which studies a study starts; empty if from none.

    Examples:
        >>> from frostline.search.study.starts import Start, starts_sentence
        >>> starts_sentence([Start(strategy="full", study="birds", score=0.9, values={"learning_rate": 1e-3})])
        'Started from the best configurations of 1 earlier study: birds.'
    """
    names = list(dict.fromkeys(each.study for each in starts))
    if not names:
        return ""
    more = len(names) - LISTED
    listed = ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
    studies = "study" if len(names) == 1 else "studies"
    return f"Started from the best configurations of {len(names)} earlier {studies}: {listed}."
