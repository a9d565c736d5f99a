"""Searches from Python: the command line's, with the same settings, checks and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...objectives.strategies import Strategy
from ..execution import resume as resume_study
from ..execution import run_search as run_request
from ..slots import Resources
from ..study import Observer, Request, check_given
from .errors import public_errors
from .objects import name_backbone, name_head, name_metric, name_sampler, name_strategies
from .stored_studies import locate
from .study import Study
from .views import views

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna.samplers import BaseSampler

    Metric = Callable[[NDArray[Any], NDArray[Any]], float]


def run_search(
    data: str | Path,
    *,
    backbone: str | Callable[..., Any] | None = None,
    strategies: Iterable[str | Strategy] = (),
    trials: int | None = None,
    budget: str | None = None,
    stop_when_sure: float | None = None,
    space: str | Path | Mapping[str, Any] | None = None,
    metric: str | Metric | None = None,
    sampler: str | Callable[..., BaseSampler] | BaseSampler | None = None,
    head: str | Callable[..., Any] | None = None,
    name: str | None = None,
    workspace: str | Path | None = None,
    storage: str | None = None,
    artifacts: str | None = None,
    observer: Observer | None = None,
    **settings: Any,
) -> Study:
    """Run a study to its verdict; the same call resumes it, and returns at once if it has ended.

    Args:
        data: Folder of class folders, table of images (CSV, TSV, Parquet), saved dataset of ``datasets``,
            ``sklearn:digits``, ``torchvision:NAME``, or a study file (``.toml``).
        backbone: Name of a torchvision model, ``timm:NAME`` or ``module:function``; or a function of an importable
            module that makes the network. By default ``mobilenet_v3_small``.
        strategies: Names of the competing strategies, or :class:`Strategy` objects that an importable module registers.
            By default all of the space, or the five default ones.
        trials: Number of trials; by default 30, or no limit with a budget.
        budget: Device seconds of all trials and workers, such as ``20m``; the finals are extra. By default no limit.
        stop_when_sure: Probability, such as 0.95, that no other strategy will win by more than the indifference, with
            which the search ends early. By default all trials run.
        space: Search space: a file, or its tables, whose values may be :class:`Domain` objects.
        metric: Name of the metric, or a function of an importable module: from probabilities (N, K), float, and classes
            (N,), int64, to a number from 0 to 1, the higher the better. By default accuracy, or balanced accuracy for
            imbalanced classes.
        sampler: Optuna sampler of the parameters within each strategy: a class, or a function that makes one, which
            gets a ``seed`` for each trial if it takes that; or an object at the top of an importable module. By default
            TPE of its own for each strategy.
        head: Function of an importable module, from the shape of an image's features and the number of classes to a
            ``torch.nn.Module`` from features (N, ...) to logits (N, num_classes). It replaces the heads of
            the space, but not that of ``linear_probe_exact``, which is solved.
        name: Name of the study; by default that of data and backbone.
        workspace: Folder of all files of studies; by default ``$FROSTLINE_WORKSPACE``, else ``frostline-workspace``.
        storage: URL of a shared database; by default ``$FROSTLINE_STORAGE``, else in the workspace.
        artifacts: URL of shared checkpoints; by default ``$FROSTLINE_ARTIFACTS``, else in the workspace.
        observer: Observer of the work; by default a live view in a terminal or notebook, and lines elsewhere.
        settings: Any other setting of the command line, by the field of :class:`Request`: ``weights``, ``image_size``,
            ``seed``, ``finals_seeds``, ``device``, ``workers``, ``audit``, ``channels``, ``group``, ...

    Returns:
        The study, with its verdict.

    Raises:
        FrostlineError: The input is wrong, and nothing was created; or something failed while running. The messages are
            those of the command line.
        KeyboardInterrupt: The user interrupted the search. The same call continues it.
    """
    with public_errors():
        named, plugins = name_strategies(strategies)
        chosen = {
            "backbone": None if backbone is None else name_backbone(backbone),
            "strategies": named or None,
            "trials": trials,
            "budget": budget,
            "stop_when_sure": stop_when_sure,
            "space": Path(space) if isinstance(space, str) else space,
            "metric": None if metric is None else name_metric(metric),
            "sampler": None if sampler is None else name_sampler(sampler),
            "head": None if head is None else name_head(head),
            "name": name,
        }
        given = {**settings, **{key: value for key, value in chosen.items() if value is not None}}
        if brought := (*_as_tuple(settings.get("plugins", ())), *plugins):
            given["plugins"] = tuple(dict.fromkeys(brought))
        place = locate(workspace, storage, artifacts)
        return Study(run_request(Request.create(str(data), **given), place, observer or views().observer()))


def resume(
    name: str,
    *,
    trials: int | None = None,
    budget: str | None = None,
    stop_when_sure: float | None = None,
    seeds: int | None = None,
    workspace: str | Path | None = None,
    storage: str | None = None,
    artifacts: str | None = None,
    observer: Observer | None = None,
    **resources: Any,
) -> Study:
    """Continue a study: finished trials stay, an interrupted trial resumes from its last checkpoint.

    Args:
        name: Name of the study.
        trials: Larger number of trials; None keeps it.
        budget: More device seconds, such as ``+10m``, or all of them; None keeps them.
        stop_when_sure: Another probability with which the search ends early; 1 runs all trials; None keeps it.
        seeds: Number of trainings that a finalist may have: an undecided race of the finals goes on.
        workspace: Folder of the study's files; see :func:`run_search`.
        storage: URL of its shared database.
        artifacts: URL of shared checkpoints.
        observer: Observer of the work; see :func:`run_search`.
        resources: Fields of :class:`Resources`: ``device``, ``workers``, ...

    Raises:
        FrostlineError: There is no such study, or its data, weights, code or libraries changed; see :func:`run_search`.
    """
    with public_errors():
        check_given(resources, Resources)
        place = locate(workspace, storage, artifacts)
        watch = observer or views().observer()
        extension: dict[str, Any] = {"trials": trials, "budget": budget, "seeds": seeds}
        extension["stop_when_sure"] = stop_when_sure
        return Study(resume_study(name, place, watch, **extension, resources=Resources(**resources)))


def _as_tuple(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
