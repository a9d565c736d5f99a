"""Optuna's messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from announcing the studies that are created within the block; its verbosity is the user's again
    after it.

    >>> import optuna
    >>> before = optuna.logging.get_verbosity()
    >>> with quiet_optuna():
    ...     optuna.logging.get_verbosity() >= optuna.logging.WARNING
    True
    >>> optuna.logging.get_verbosity() == before
    True
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
