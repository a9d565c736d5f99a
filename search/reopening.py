"""From a study's name to a study that can go on: here, or on another machine that reaches its database."""

from __future__ import annotations

from ..objectives.backbones import check_backbone
from ..objectives.errors import InvalidInputError
from ..objectives.finetune import BackbonePool
from ..objectives.model_sources import preprocessing_for
from ..objectives.strategies import BUILT_IN, STRATEGIES
from ..storage.locks import exclusive
from ..storage.workspace import Workspace
from .planning import Prepared, decode
from .plugins import load_plugins
from .progress import Observer
from .records import finished
from .study import Study


def reopen(study: Study, observer: Observer, data: str | None = None) -> Prepared:
    """Get what it takes to work on a study.

    Args:
        study: The study, with the workspace of this machine.
        observer: Told of the decoding.
        data: Where the data are on this machine, if elsewhere than where the study began.

    Raises:
        InvalidInputError: Data or weights are not the same.
    """
    settings = study.settings
    preprocessing = preprocessing_for(settings.backbone, settings.weights, settings.image_size)
    check_backbone(settings.spec)
    dataset = decode(settings, preprocessing, study.workspace, observer, data)
    if dataset.fingerprint != study.facts.fingerprint:
        raise InvalidInputError(
            f"The data of study {settings.name!r} ({data or settings.data}) are not what they were when it began. "
            "Put them back, or begin a new study with: frostline search DATA --name ANOTHER"
        )
    backbones = BackbonePool(settings.spec)
    if study.facts.weights not in ("", backbones.fingerprint):
        raise InvalidInputError(
            f"The weights of study {settings.name!r} ({settings.weights}) are not what they were when it began: "
            f"{study.facts.weights[:12]} then, {backbones.fingerprint[:12]} now. "
            "Put them back, or begin a new study with: frostline search DATA --name ANOTHER"
        )
    return Prepared(study, dataset, backbones)


def prepare_resume(name: str, workspace: Workspace, observer: Observer, trials: int | None = None) -> Prepared:
    """Open a study to go on with it, with a larger budget if one is given.

    Raises:
        InvalidInputError: No such study, a smaller budget, or the data are no longer the same.
        StudyBusyError: Another process works on it.
    """
    study = Study.load(name, workspace)
    require_strategies(study, trials)
    if trials is not None and trials < study.settings.trials:
        raise InvalidInputError(
            f"--trials {trials} is below the study's {study.settings.trials}; a budget can only grow."
        )
    study.require_artifacts()
    prepared = reopen(study, observer)
    with exclusive(workspace, name):
        if trials is not None:
            study.set_budget(trials)
        study.ready()
    return prepared


def require_strategies(study: Study, trials: int | None = None) -> None:
    """Import a study's plugins where trials or finals are missing that need them.

    Raises:
        InvalidInputError: They do not register what the study needs.
    """
    settings = study.settings
    complete = finished(study.trials()) >= (trials or settings.trials) and study.results().verdict is not None
    if BUILT_IN.issuperset(settings.strategies) or complete:
        return
    load_plugins(settings.plugins)
    if missing := [name for name in settings.strategies if name not in STRATEGIES]:
        raise InvalidInputError(
            f"Study {settings.name!r} needs {', '.join(missing)}, which its plugins "
            f"({', '.join(settings.plugins) or 'none'}) do not register. Put back the module that did."
        )
