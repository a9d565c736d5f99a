"""The networks of the finals as MLflow models: one per strategy, registered with aliases after the verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from ...storage.tracking import ServedModel, Tracker
from ..analysis import Contender, Verdict
from ..records import FinalScores
from ..study import Study
from .keys import final_key

CHAMPION = "champion"
# Libraries that loading and running a network imports, besides those of MLflow.
_LIBRARIES = ("torch", "torchvision", "safetensors", "pydantic", "numpy", "pillow", "lazy-loader")
# Prefix of the name of the package that loads a stored network.
PACKAGE_PREFIX = "frostline_objectives_"
# The module with `load_network` in the package of a stored network, now and in older versions.
_LOADERS = ("networks.export", "exported")


def finalist_of(final: FinalScores) -> tuple[str, int]:
    """Return strategy and trial number of a final's configuration."""
    return final.strategy, final.trial_number


def best_final(finals: Iterable[FinalScores]) -> FinalScores:
    """Return the final with the best validation score; of equals, the one with the lowest seed."""
    return max(finals, key=lambda final: (final.val_score, -final.seed))


def log_models(study: Study, tracker: Tracker, verdict: Verdict) -> None:
    """Log and register each contender's network, the winner's as the champion; known models only get their aliases."""
    finals = study.final_scores()
    for contender in verdict.contenders:
        finalist = contender.strategy, contender.trial_number
        final = best_final(each for each in finals if finalist_of(each) == finalist)
        folder = network_folder(study, final)
        # Finals of older versions have no network.
        if folder.exists():
            aliases = [alias(contender.strategy), *([CHAMPION] if contender is verdict.winner else [])]
            run = tracker.known(_key(final))
            run.log_model(_served(study, folder, final, contender, aliases))


def alias(strategy: str) -> str:
    """Return the alias of the registered version with a strategy's best network.

    Examples:
        >>> from frostline.search.tracking.registered_models import alias
        >>> alias("lp_ft")
        'strategy-lp_ft'"""
    return f"strategy-{re.sub(r'[^A-Za-z0-9_-]', '-', strategy)}"


def _served(
    study: Study, folder: Path, final: FinalScores, contender: Contender, aliases: Sequence[str]
) -> ServedModel:
    settings = study.settings
    libraries = [*_LIBRARIES, *(["timm"] if settings.backbone.startswith("timm:") else [])]
    package = next(path for path in (folder / "code").iterdir() if path.name.startswith(PACKAGE_PREFIX))
    return ServedModel(
        folder=str(folder),
        package=package.name,
        loader=next(name for name in _LOADERS if package.joinpath(*name.split(".")).with_suffix(".py").exists()),
        classes=list(study.facts.classes),
        requirements=[f"{name}=={version(name).partition('+')[0]}" for name in libraries],
        name=f"{alias(final.strategy)}-trial-{final.trial_number}",
        description=(
            f"`{final.strategy}` on `{settings.backbone}`: the configuration of trial {final.trial_number}, trained "
            f"with seed {final.seed}, which had the best validation score of {len(contender.scores)}. "
            f"Test {settings.metric}: {final.test_score:.4f}. {_calibration(study, final)}"
        ),
        aliases=list(aliases),
        temperature=final.temperature or 1.0,
    )


def _calibration(study: Study, final: FinalScores) -> str:
    if final.temperature is None:
        return "Its probabilities are not calibrated."
    images = study.facts.counts["val"]
    return (
        f"Its probabilities are calibrated: temperature {final.temperature:.3f}, fitted on {images} validation images."
    )


def _key(final: FinalScores) -> str:
    return final_key(*final.identity)


def network_folder(study: Study, final: FinalScores) -> Path:
    """Return the folder of a final's network, which may not exist."""
    return study.workspace.models(study.settings.name) / _key(final)
