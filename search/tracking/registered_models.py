"""The networks of the finals as MLflow models: one per strategy, registered with aliases after the verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ...objectives.data import TIFF_LIBRARIES
from ...objectives.preprocessing import RGB
from ...storage.tracking import ServedModel, Tracker
from ..analysis import STOCK, Contender, ModelStock, Verdict, best_final, shipped_final
from ..records import FinalScores
from ..study import Study, place_of_final
from .keys import final_key
from .load_check import load_faults, loader_of, package_of

CHAMPION = "champion"
# Tag of the run whose network is not registered: the reason.
_NOT_REGISTERED = "frostline.not_registered"
ADVICE = (
    "The module of a network may import modules beside it, but cannot read files or import frostline: let the factory "
    "return the network alone, give its weights with --weights FILE, and write its preprocessing as a dictionary."
)
# Libraries that loading and running a network imports, besides those of MLflow.
_LIBRARIES = ("torch", "torchvision", "safetensors", "pydantic", "numpy", "pillow", "lazy-loader")


def finalist_of(final: FinalScores) -> tuple[str, int]:
    """Return strategy and trial number of a final's configuration."""
    return final.strategy, final.trial_number


@dataclass(frozen=True)
class KeptModel:
    """The network of a contender that this workspace has.

    Attributes:
        contender: Contender of the verdict.
        single: Final with the best network of a single seed, whose run shows the model.
        final: Final whose network it is: the same, or that of the model stock.
        folder: Folder of the network.
        fault: Why the network cannot be loaded elsewhere; empty if it can.
    """

    contender: Contender
    single: FinalScores
    final: FinalScores
    folder: Path
    fault: str


def kept_models(study: Study, verdict: Verdict, stock: ModelStock | None) -> list[KeptModel]:
    """Return the networks of a verdict's contenders that this workspace has, each loaded once in another process."""
    finals = study.final_scores()
    found = list[tuple[Contender, FinalScores, FinalScores, Path]]()
    for contender in verdict.contenders:
        finalist = contender.strategy, contender.trial_number
        own = [each for each in finals if finalist_of(each) == finalist]
        final = shipped_final(own, stock)
        folder = network_folder(study, final)
        # Finals of older versions have no network, and those of other machines have theirs there.
        if folder.exists():
            found.append((contender, best_final(own), final, folder))
    faults = load_faults([folder for *_, folder in found])
    return [KeptModel(*each, fault=faults.get(each[-1], "")) for each in found]


def log_models(
    study: Study, tracker: Tracker, verdict: Verdict, models: Sequence[KeptModel], note: Callable[[str], None]
) -> None:
    """Log and register networks, the winner's as the champion; known models only get their aliases.

    Args:
        study: Study.
        tracker: Tracker of the study.
        verdict: Verdict of the study.
        models: Networks; one that cannot be loaded elsewhere is not registered.
        note: Function that receives a message for each reason why networks cannot be loaded.
    """
    unusable: dict[str, list[str]] = {}
    for model in models:
        run = tracker.known(_key(model.single))
        if model.fault:
            unusable.setdefault(model.fault, []).append(model.contender.strategy)
            run.log_summary({}, {_NOT_REGISTERED: model.fault})
            continue
        aliases = [alias(model.contender.strategy), *([CHAMPION] if model.contender is verdict.winner else [])]
        run.log_model(_served(study, model, aliases))
    for fault, strategies in unusable.items():
        note(
            f"the networks of {', '.join(strategies)} are not registered as models, because they cannot be loaded "
            f"elsewhere ({fault}); the verdict stands. {ADVICE}"
        )


def alias(strategy: str) -> str:
    """Return the alias of the registered version with a strategy's best network.

    Examples:
        >>> from frostline.search.tracking.registered_models import alias
        >>> alias("lp_ft")
        'strategy-lp_ft'"""
    return f"strategy-{re.sub(r'[^A-Za-z0-9_-]', '-', strategy)}"


def _served(study: Study, model: KeptModel, aliases: Sequence[str]) -> ServedModel:
    settings, final = study.settings, model.final
    libraries = [*_LIBRARIES, *(["timm"] if settings.backbone.startswith("timm:") else [])]
    # They read TIFF files, and whoever serves other files does without.
    libraries += [name for name in TIFF_LIBRARIES if settings.listing.channels != RGB and find_spec(name)]
    return ServedModel(
        folder=str(model.folder),
        package=package_of(model.folder),
        loader=loader_of(model.folder),
        classes=list(study.facts.classes),
        requirements=[f"{name}=={version(name).partition('+')[0]}" for name in libraries],
        name=f"{alias(final.strategy)}-trial-{final.trial_number}",
        description=(
            f"`{final.strategy}` on `{settings.backbone}`: the configuration of trial {final.trial_number}, "
            f"{chosen_network(final, len(model.contender.scores))}. "
            f"Test {settings.metric}: {final.test_score:.4f}. {_calibration(study, final)}"
        ),
        aliases=list(aliases),
        temperature=final.temperature or 1.0,
    )


def chosen_network(final: FinalScores, seeds: int) -> str:
    """Say which network of a finalist is shipped.

    Args:
        final: Final of the network.
        seeds: Number of the finalist's seeds.
    """
    if final.seed == STOCK:
        return f"a model stock of {seeds} seeds, which validates better than each of their networks"
    return f"trained with seed {final.seed}, which had the best validation score of {seeds}"


def _calibration(study: Study, final: FinalScores) -> str:
    if final.temperature is None:
        return "Its probabilities are not calibrated."
    images = study.facts.final_val_images(place_of_final(study.settings, final.seed))
    return (
        f"Its probabilities are calibrated: temperature {final.temperature:.3f}, fitted on {images} validation images."
    )


def _key(final: FinalScores) -> str:
    return final_key(*final.identity)


def network_folder(study: Study, final: FinalScores) -> Path:
    """Return the folder of a final's network, which may not exist."""
    return study.workspace.models(study.settings.name) / _key(final)
