"""The checks of a request that are cheap, which run before anything is built, decoded or created."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ...objectives.backbones import check_backbone
from ...objectives.config import BackboneSpec
from ...objectives.data import Listing, ListingOptions, divide_folds, fold_faults, list_source, resolve_splits
from ...objectives.errors import InvalidInputError
from ...objectives.preprocessing import DEFAULT_SIZE
from ...objectives.sizes import parse_size
from ...storage.files import artifacts_fault
from ...storage.tracking import uri_fault
from ...storage.urls import holds_secret, safe_url
from ...storage.workspace import Workspace
from ..durations import parse_duration
from ..limits import number_faults, sureness_faults
from ..slots import check_resources
from ..space import COMPETING, Space, channel_faults, create_space, default_tables, load_plugins, read_space
from .precision import precision_faults
from .prior import check_prior
from .request import Request
from .user_objects import import_objects, try_metric

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Of a final, for each test image and class: the studies' database keeps them, and each verdict reads all.
MAX_PROBABILITIES = 2**26


def check_request(request: Request, workspace: Workspace) -> tuple[Listing, Space | None]:
    """Check a request.

    Args:
        request: Request to check.
        workspace: Workspace of the study.

    Returns:
        Listing of the images, and the space of the request's files; None for the default space.

    Raises:
        InvalidInputError: The request has faults; the message names all of them.
    """
    faults: list[str] = list(request.file.faults) if request.file else []
    with _collecting(faults):
        _check_numbers(request)
    with _collecting(faults):
        check_backbone(BackboneSpec(request.backbone, request.weights, request.image_size or DEFAULT_SIZE))
    imported = False
    with _collecting(faults):
        import_objects(request.metric, request.sampler, [request.head] if request.head else [])
        imported = True
    with _collecting(faults):
        check_resources(request.resources, workspace)
        faults += precision_faults(request.precision, request.resources)
    with _collecting(faults):
        parse_size(request.cache_budget)
    with _collecting(faults):
        budget_of(request)
    with _collecting(faults):
        check_prior(request.prior)
    # Until the strategies are known.
    space, counted = None, 2
    with _collecting(faults):
        load_plugins(request.plugins)
        space = _written(request)
        chosen = (space or create_space(default_tables())).only(chosen_strategies(request, space))
        faults += channel_faults(chosen, request.listing.channels)
        # An invalid space skips the rest of this block only.
        if not number_faults({"--trials": request.trials}):
            faults += trials_faults(request.planned_trials, len(chosen.strategies))
        counted = len(chosen.strategies)
    listing: Listing | None = None
    with _collecting(faults):
        listing = list_data(request.data, request.listing.located(request.data), workspace)
        if imported:
            try_metric(request.metric, listing, request.seed)
        if request.folds and not number_faults({"--folds": request.folds}):
            faults += fold_faults(*_divided(listing, request.seed), request.folds, listing.groups)
        if len(listing.labels) * len(listing.classes) > MAX_PROBABILITIES:
            # Of any seed there are as many test images.
            faults += size_faults(split_counts(listing, seed=0)["test"], len(listing.classes))
    faults += sureness_faults(request.stop_when_sure, counted, off="Leave it out to run all trials.")
    faults += _address_faults(request.tracking_uri or "", workspace.artifacts_url or "")
    if faults or listing is None:
        raise InvalidInputError(faults)
    return listing, space


def size_faults(test_images: int, classes: int) -> list[str]:
    """Return whether a final would predict more than the studies' database should hold.

    >>> from frostline.search.study.checks import size_faults
    >>> size_faults(test_images=50_000, classes=1_000)
    []
    """
    if test_images * classes <= MAX_PROBABILITIES:
        return []
    return [
        f"{test_images:,} test images and {classes:,} classes: each final would keep "
        f"{4 * test_images * classes / 2**20:,.0f} MiB of probabilities, and at most "
        f"{4 * MAX_PROBABILITIES / 2**20:,.0f} are kept. Merge classes, or give fewer test images"
    ]


def _address_faults(tracking: str, artifacts: str) -> list[str]:
    """Return what is wrong with the addresses that a study keeps, so that workers and later commands find them."""
    from_mlflow = "no password. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    from_store = "no password and no token. Give these in the environment or in the store's own configuration"
    faults = []
    for option, url, fault_of, secrets in (
        ("--tracking-uri", tracking, uri_fault, from_mlflow),
        ("--artifacts", artifacts, artifacts_fault, from_store),
    ):
        if holds_secret(url):
            typed = f"{option} {safe_url(url)}"
            faults.append(f"{typed}: a study keeps this address, so it may hold {secrets}, then type {typed}")
        elif url and (fault := fault_of(url)):
            faults.append(fault)
    return faults


def chosen_strategies(request: Request, written: Space | None) -> tuple[str, ...]:
    """Return the competing strategies: those named, else the space file's, else the defaults and the plugins'."""
    return request.strategies or (() if written else (*COMPETING, *load_plugins(request.plugins)))


def _written(request: Request) -> Space | None:
    """Return the space of the request's files; None for the default space."""
    if isinstance(request.space, Path):
        return read_space(request.space)
    if request.space is not None:
        return create_space(request.space)
    return request.file.space() if request.file else None


def list_data(data: str, options: ListingOptions, workspace: Workspace) -> Listing:
    """List the images of a dataset.

    Args:
        data: Name of the dataset.
        options: What it does not say of itself, as a study stores it.
        workspace: Workspace of the downloads.

    Raises:
        InvalidInputError: No dataset is named, or no study can use it.
    """
    if not data:
        raise InvalidInputError(
            'No dataset is named. In a study file, add data = "FOLDER" to [study], or use --data FOLDER.'
        )
    return list_source(data, options, download_dir=workspace.images / "downloads")


@contextmanager
def _collecting(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except InvalidInputError as error:
        faults += error.faults


def name_fault(option: str, name: str) -> list[str]:
    """Return the faults of a study's name.

    Examples:
        >>> from frostline.search.study.checks import name_fault
        >>> name_fault("--name", "birds-2")
        []
        >>> name_fault("--name", "my birds")
        ["--name 'my birds': use letters, digits, '.', '_' and '-', at most 100, a letter or digit first."]
    """
    rule = "use letters, digits, '.', '_' and '-', at most 100, a letter or digit first."
    return [] if _NAME.fullmatch(name) else [f"{option} {name!r}: {rule}"]


def _check_numbers(request: Request) -> None:
    faults = number_faults(
        {
            "--trials": request.trials,
            "--seeds": request.finals_seeds,
            "--candidates": request.candidates,
            "--seed": request.seed,
            "--folds": request.folds,
            "--channels": request.listing.channels,
            "--population": request.population,
        }
    )
    if request.folds and request.population > 1:
        faults.append(
            f"--population {request.population}: with --folds, trials train one at a time. Leave out one of them."
        )
    if not 0 <= request.indifference <= 100:
        faults.append(f"--indifference is in points, from 0 to 100, got {request.indifference:g}.")
    if request.name is not None:
        faults += name_fault("--name", request.name)
    if faults:
        raise InvalidInputError(faults)


def budget_of(request: Request) -> float | None:
    """Return the budget of a request in device seconds; None without one.

    Raises:
        InvalidInputError: The budget is not a time.
    """
    return None if request.budget is None else parse_duration("--budget", request.budget)


def trials_faults(trials: int | None, strategies: int) -> list[str]:
    """Return the faults of a number of trials; None is no limit.

    Examples:
        >>> from frostline.search.study.checks import trials_faults
        >>> trials_faults(30, strategies=5)
        []
        >>> trials_faults(0, strategies=5)
        ['--trials must be at least 1, got 0.']"""
    if (faults := number_faults({"--trials": trials})) or trials is None or trials >= strategies:
        return faults
    return [
        f"--trials {trials} is too few for {strategies} strategies, which need at least one each. "
        f"Give --trials {strategies} or more, or select fewer with --strategy."
    ]


def train_counts(listing: Listing, seed: int, folds: int | None = None) -> list[int]:
    """Return the number of training images of each class; with folds, of the first one."""
    labels, splits = _splits(listing, seed, folds)
    return np.bincount(labels[splits["train"]], minlength=len(listing.classes)).tolist()


def split_counts(listing: Listing, seed: int, folds: int | None = None) -> dict[str, int]:
    """Return the number of listed images of each split; files that do not decode are among them."""
    return {split: len(rows) for split, rows in _splits(listing, seed, folds)[1].items()}


def _splits(listing: Listing, seed: int, folds: int | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    classes, labels, splits = _divided(listing, seed)
    if folds:
        val, *rest = divide_folds(classes, labels, splits, folds, seed, listing.groups)
        splits |= {"train": np.concatenate(rest), "val": val}
    return labels, splits


def _divided(listing: Listing, seed: int) -> tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
    """Return the classes, the labels and the splits of a listing without folds."""
    labels = np.array(listing.labels)
    return listing.classes, labels, resolve_splits(listing.splits, labels, seed, listing.groups)


def train_images(data: str, workspace: Workspace, options: ListingOptions = ListingOptions()) -> int:  # noqa: B008
    """Return the size of a dataset's training split."""
    return sum(train_counts(list_data(data, options.located(data), workspace), seed=0))
