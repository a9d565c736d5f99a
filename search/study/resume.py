"""From a study's name to a study that can go on: here, or on another machine that reaches its database."""

from __future__ import annotations

from dataclasses import replace

from ...objectives.backbones.backbone import check_backbone
from ...objectives.backbones.model_sources import preprocessing_for
from ...objectives.errors import InvalidInputError
from ...objectives.networks.backbone_pool import BackbonePool
from ...objectives.strategies.catalog import BUILT_IN, STRATEGIES
from ...storage.locks import exclusive
from ...storage.workspace import Workspace
from ..space.plugins import load_plugins
from .checks import budget_faults, list_data, name_fault
from .fingerprints import refuse_drift
from .observer import Observer
from .prepare import Prepared, decode, gather_facts
from .study import Study, study_names


def reopen(study: Study, observer: Observer, data: str | None = None, *, trains: bool | None = None) -> Prepared:
    """Get what it takes to work on a study.

    Args:
        study: The study, with the workspace of this machine.
        observer: Told of the decoding.
        data: Where the data are on this machine, if elsewhere than where the study began.
        trains: Whether anything will be trained; None: if trials or finals are missing.

    Raises:
        InvalidInputError: Data, weights, code or libraries are not the same, or plugins lack its strategies.
    """
    settings, trains = study.settings, lacks(study) if trains is None else trains
    # What plugins bring is compared with what it was.
    _require_strategies(study, trains=trains)
    preprocessing = preprocessing_for(settings.backbone, settings.weights, settings.image_size)
    check_backbone(settings.spec)
    listing = list_data(data or settings.data, study.workspace)
    dataset = decode(listing, settings, preprocessing, study.workspace, observer)
    backbones = BackbonePool(settings.spec)
    refuse_drift(settings, study.facts, dataset, backbones, trains=trains, option=study.workspace.option)
    return Prepared(study, dataset, backbones)


def prepare_resume(
    name: str, workspace: Workspace, observer: Observer, trials: int | None = None, *, curve: bool = False
) -> Prepared:
    """Open a study to go on with it.

    Args:
        name: Of the study.
        workspace: Where it is kept.
        observer: Told of the decoding.
        trials: A larger budget.
        curve: Whether its data-size curve is trained, too.

    Raises:
        InvalidInputError: No such study, a smaller budget, or the data are no longer the same.
        StudyBusyError: Another process works on it.
    """
    study = Study.load(name, workspace)
    if trials is not None and trials < study.settings.trials:
        raise InvalidInputError(
            f"--trials {trials} is below the study's {study.settings.trials}; a budget can only grow."
        )
    study.require_artifacts()
    prepared = reopen(study, observer, trains=curve or lacks(study, trials))
    with exclusive(workspace, name):
        if trials is not None:
            study.set_budget(trials)
        study.ready()
    return prepared


def prepare_fork(name: str, fork: str, workspace: Workspace, observer: Observer, trials: int | None = None) -> Prepared:
    """Make a study that asks what another one asks, of the data and weights as they are and with the code that is here.

    It takes over the settings and no trials: those were drawn and trained by what was there before.

    Raises:
        InvalidInputError: No such study, or there is one of the new name.
    """
    old = Study.load(name, workspace)
    faults = name_fault("--fork", fork)
    if fork in study_names(workspace):
        faults.append(
            f"--fork {fork}: there is a study of this name. Go on with it: frostline resume {fork}{workspace.option}"
        )
    budget = old.settings.trials if trials is None else trials
    faults += budget_faults(budget, len(old.settings.strategies))
    if faults:
        raise InvalidInputError(faults)
    old.require_artifacts()
    settings = old.settings.model_copy(update={"name": fork, "trials": budget})
    load_plugins(settings.plugins)
    check_backbone(settings.spec)
    preprocessing = preprocessing_for(settings.backbone, settings.weights, settings.image_size)
    listing, backbones = list_data(settings.data, workspace), BackbonePool(settings.spec)
    dataset = decode(listing, settings, preprocessing, workspace, observer)
    facts = replace(gather_facts(settings, dataset, backbones), forked_from=name)
    place = replace(workspace, artifacts_url=old.artifacts_url)
    return Prepared(Study.create(settings, facts, place, old.tracking_uri), dataset, backbones)


def _require_strategies(study: Study, *, trains: bool) -> None:
    """Import a study's plugins where trainings need them.

    Raises:
        InvalidInputError: They do not register what the study needs.
    """
    settings = study.settings
    if BUILT_IN.issuperset(settings.strategies) or not trains:
        return
    load_plugins(settings.plugins)
    if missing := [name for name in settings.strategies if name not in STRATEGIES]:
        raise InvalidInputError(
            f"Study {settings.name!r} needs {', '.join(missing)}, which its plugins "
            f"({', '.join(settings.plugins) or 'none'}) do not register. Put back the module that did."
        )


def lacks(study: Study, trials: int | None = None) -> bool:
    """Whether trials or finals are missing, of this budget or a larger one."""
    return (trials or 0) > study.settings.trials or not study.results().complete
