"""Keys of a study's MLflow runs and checkpoints: one per trial, strategy, final and data-size training."""

from __future__ import annotations

from ..records import read_finalist


def trial_key(number: int) -> str:
    """Key of a trial's run.

    >>> trial_key(7)
    'trial-7'
    """
    return f"trial-{number}"


def strategy_key(strategy: str) -> str:
    """Key of the run above a strategy's finals.

    >>> strategy_key("lp_ft")
    'strategy-lp_ft'
    """
    return f"strategy-{strategy}"


def final_key(strategy: str, trial_number: int, seed: int) -> str:
    """Key of a final's run.

    >>> final_key("lp_ft", 7, 1000)
    'final-lp_ft-7-1000'
    """
    return f"final-{strategy}-{trial_number}-{seed}"


def curve_key(finalist: str, images: int, seed: int) -> str:
    """Key of the run of a finalist's training on part of the training images.

    >>> curve_key("lp_ft-7", 100, 1000)
    'curve-lp_ft-7-100-1000'
    """
    return f"curve-{finalist}-{images}-{seed}"


def ticket_key(subject: str) -> str:
    """Key of a final's run, from the subject of its ticket.

    >>> ticket_key("lp_ft-7 1000")
    'final-lp_ft-7-1000'
    """
    finalist, seed = subject.split(" ")
    return final_key(*read_finalist(finalist), int(seed))
