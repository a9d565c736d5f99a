"""The way from a study's name to a study that can resume, on this or another machine."""

from __future__ import annotations

from dataclasses import replace

from ...objectives.backbones import check_backbone, preprocessing_for
from ...objectives.errors import InvalidInputError
from ...objectives.networks import BackbonePool
from ...objectives.strategies import BUILT_IN, STRATEGIES
from ...storage.locks import exclusive
from ...storage.workspace import Workspace
from ..limits import number_faults
from ..space import load_plugins
from .checks import list_data, name_fault, trials_faults
from .extension import NO_EXTENSION, Extension
from .fingerprints import require_unchanged
from .observer import Observer
from .prepare import Prepared, decode, gather_facts, require_free_name
from .studies import study_names
from .study import Study
from .user_objects import head_functions, import_objects


def reopen(
    study: Study,
    observer: Observer,
    data: str | None = None,
    image_root: str | None = None,
    *,
    trains: bool | None = None,
) -> Prepared:
    """Load the dataset and backbones of a study.

    Args:
        study: Study, with the workspace of this machine.
        observer: Observer of the decoding.
        data: Location of the dataset on this machine, if it differs from the study's.
        image_root: Folder on this machine from which the paths of a table start, if it differs.
        trains: Whether anything will be trained; by default, whether trials or finals are missing.

    Raises:
        InvalidInputError: Data, weights, code or libraries changed, the plugins lack strategies of the study, or its
            metric, sampler or head cannot be imported.
    """
    settings, trains = study.settings, lacks(study) if trains is None else trains
    # The plugins are imported first, because their code is compared too.
    _require_strategies(study, trains=trains)
    if trains:
        import_objects(settings.metric, settings.sampler, head_functions(settings.space))
    spec = settings.spec
    preprocessing = preprocessing_for(spec.name, spec.weights, spec.image_size, spec.channels)
    check_backbone(spec)
    data, options = data or settings.data, settings.listing
    if image_root is not None:
        options = replace(options, image_root=image_root).located(data)
    listing = list_data(data, options, study.workspace)
    dataset = decode(listing, settings, preprocessing, study.workspace, observer)
    backbones = BackbonePool(spec)
    require_unchanged(settings, study.facts, dataset, backbones, trains=trains, option=study.workspace.option)
    return Prepared(study, dataset, backbones)


def prepare_resume(
    name: str,
    workspace: Workspace,
    observer: Observer,
    extension: Extension = NO_EXTENSION,
    *,
    curve: bool = False,
) -> Prepared:
    """Open a study to resume it.

    Args:
        name: Name of the study.
        workspace: Workspace of the study.
        observer: Observer of the decoding.
        extension: Further trials, device seconds and seeds.
        curve: Whether the data-size curve is trained too.

    Raises:
        InvalidInputError: There is no such study, it would shrink, or data, weights or code changed.
        StudyBusyError: Another process works on the study.
    """
    study = Study.load(name, workspace)
    extended = extension.of(study)
    study.require_artifacts()
    prepared = reopen(study, observer, trains=curve or extended is not None or lacks(study))
    with exclusive(workspace, name):
        if extended is not None:
            study.extend(extended, extension.seeds)
        study.ready()
    return prepared


def prepare_fork(
    name: str,
    fork: str,
    workspace: Workspace,
    observer: Observer,
    extension: Extension = NO_EXTENSION,
) -> Prepared:
    """Create a study with the settings of another one and the present data, weights and code.

    It takes over no trials, because the earlier data or code produced them.

    Args:
        name: Name of the existing study.
        fork: Name of the new study.
        workspace: Workspace of both.
        observer: Observer of the decoding.
        extension: Trials, device seconds and seeds of the new study, where they differ.

    Raises:
        InvalidInputError: There is no such study, or the new name is taken or invalid.
    """
    old = Study.load(name, workspace)
    faults = name_fault("--fork", fork)
    if fork in study_names(workspace):
        faults.append(
            f"--fork {fork}: a study of this name exists. Resume it: frostline resume {fork}{workspace.option}"
        )
    trials = old.settings.trials if extension.trials is None else extension.trials
    faults += trials_faults(trials, len(old.settings.strategies))
    faults += number_faults({"--seeds": extension.seeds})
    faults += extension.ending_faults(old.settings)
    budget, seeds = old.settings.budget, extension.seeds
    try:
        budget = extension.budget_of(old.settings) or budget
    except InvalidInputError as error:
        faults += error.faults
    if faults:
        raise InvalidInputError(faults)
    require_free_name(old.tracking_uri, fork, "--fork")
    old.require_artifacts()
    changed = {"name": fork, "trials": trials, "budget": budget, "earlier_seeds": ()}
    changed |= {"stop_when_sure": extension.sureness_of(old.settings)}
    changed |= {} if seeds is None else {"finals_seeds": seeds, "finals_limited": False}
    settings = old.settings.model_copy(update=changed)
    load_plugins(settings.plugins)
    import_objects(settings.metric, settings.sampler, head_functions(settings.space))
    spec = settings.spec
    check_backbone(spec)
    preprocessing = preprocessing_for(spec.name, spec.weights, spec.image_size, spec.channels)
    listing, backbones = list_data(settings.data, settings.listing, workspace), BackbonePool(spec)
    dataset = decode(listing, settings, preprocessing, workspace, observer)
    facts = replace(gather_facts(settings, dataset, backbones, old.facts.precision), forked_from=name)
    place = replace(workspace, artifacts_url=old.artifacts_url)
    return Prepared(Study.create(settings, facts, place, old.tracking_uri), dataset, backbones)


def _require_strategies(study: Study, *, trains: bool) -> None:
    """Import a study's plugins if trainings need them.

    Raises:
        InvalidInputError: The plugins do not register all strategies of the study.
    """
    settings = study.settings
    if BUILT_IN.issuperset(settings.strategies) or not trains:
        return
    load_plugins(settings.plugins)
    if missing := [name for name in settings.strategies if name not in STRATEGIES]:
        raise InvalidInputError(
            f"Study {settings.name!r} needs {', '.join(missing)}, which its plugins "
            f"({', '.join(settings.plugins) or 'none'}) do not register. Restore the module that did."
        )


def lacks(study: Study) -> bool:
    """Return whether trials or finals are missing."""
    return not study.complete()
