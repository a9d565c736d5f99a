"""Recorded trials, from which any search policy can be replayed in seconds: their format, and how to read them.

    recording = read_recording()
    for trial in recording.cell("flowers", "squeezenet1_1", "partial"):
        trial.config["freeze_depth"], trial.val_score.max(), trial.seconds.sum()

``record_trials.py`` makes them. A recording is one Parquet file, a row a trial; the file's metadata hold the labels of
the images, and on which machine, with which code and versions the trials ran.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

RECORDING = Path(__file__).with_name("recordings") / "trials.parquet"

Floats = NDArray[np.float64]
Classes = NDArray[np.uint8]
Cell = tuple[str, str, str]
"""Dataset, backbone and strategy."""

# Columns with a number per epoch.
PER_EPOCH = (
    "train_loss",
    "val_score",
    "val_loss",
    "test_score",
    "test_loss",
    "seconds",
    "process_seconds",
    "feature_seconds",
)

_TEXT, _COUNT, _NUMBER = pa.string(), pa.int32(), pa.float32()
_SCHEMA = pa.schema(
    {
        **dict.fromkeys(("dataset", "backbone", "strategy"), _TEXT),
        **dict.fromkeys(("number", "seed"), _COUNT),
        **dict.fromkeys(("config", "state", "session", "stage"), _TEXT),
        "phases": pa.list_(_TEXT),
        **dict.fromkeys(PER_EPOCH, pa.list_(_NUMBER)),
        "best_epoch": _COUNT,
        **dict.fromkeys(("val_predictions", "test_predictions"), pa.list_(pa.uint8())),
        **dict.fromkeys(("setup_seconds", "other_seconds", "wall_seconds", "frozen_operations"), _NUMBER),
        "trainable_parameters": _COUNT,
        "views": pa.list_(_TEXT),
        "view_epochs": pa.list_(_COUNT),
        "view_seconds": pa.list_(_NUMBER),
    }
)


@dataclass(frozen=True)
class RecordedTrial:
    """One configuration, trained once without pruning. Arrays (E,) have an entry per epoch, over all phases.

    Attributes:
        dataset: Name of the dataset.
        backbone: Name of the backbone.
        strategy: Name of the strategy.
        number: Number of the configuration in its cell; 0 is the strategy's default.
        seed: Seed of the training: head, data order, augmentation, dropout.
        config: Searched and constant parameters by dotted name, as ``create_config`` takes them.
        state: ``complete``, or why the training failed; it then has the epochs before.
        session: Key of the session that recorded it.
        stage: Key of the head-only first phase that trials can share (``lp_ft``); empty if there is none.
        phases: Name of each epoch's phase, (E,).
        train_loss: Training loss.
        val_score: Accuracy on the validation images.
        val_loss: Log loss on the validation images.
        test_score: Accuracy on the test images.
        test_loss: Log loss on the test images.
        seconds: Wall time of training and validation, seconds, with ``feature_seconds`` and without the test images.
        process_seconds: Processor time of the same, and of what follows an epoch, seconds.
        feature_seconds: Part of ``seconds`` for the views that this trial computed, since nobody had before.
        best_epoch: Number of the epoch whose weights are kept: the first best one of the last phase; -1 if failed.
        val_predictions: Predicted classes of the kept weights on the validation images, (V,); empty if failed.
        test_predictions: Likewise on the test images, (T,).
        setup_seconds: Wall time before the first epoch: weights, head, hashes, optimizer, measuring the prefix.
        other_seconds: Remaining wall time: later phases' setup, certificates, the metrics of the kept weights.
        wall_seconds: All wall time of the recording, with the passes over the test images.
        frozen_operations: Share of the backbone's forward operations before the cut of the last phase; 0 if failed.
        trainable_parameters: Number of trainable parameters of the last phase; 0 if failed.
        views: Keys of the frozen prefix's cached views (train and validation) that the trial uses, (F,).
        view_epochs: Epoch that needs each view first, (F,).
        view_seconds: Seconds to compute each view, (F,), by whichever trial computed it; NaN if unknown.
    """

    dataset: str
    backbone: str
    strategy: str
    number: int
    seed: int
    config: dict[str, Any]
    state: str
    session: str
    stage: str
    phases: tuple[str, ...]
    train_loss: Floats
    val_score: Floats
    val_loss: Floats
    test_score: Floats
    test_loss: Floats
    seconds: Floats
    process_seconds: Floats
    feature_seconds: Floats
    best_epoch: int
    val_predictions: Classes
    test_predictions: Classes
    setup_seconds: float
    other_seconds: float
    wall_seconds: float
    frozen_operations: float
    trainable_parameters: int
    views: tuple[str, ...]
    view_epochs: NDArray[np.int32]
    view_seconds: Floats

    @property
    def cell(self) -> Cell:
        return self.dataset, self.backbone, self.strategy

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """Cell, number and seed, which no other trial has."""
        return *self.cell, self.number, self.seed

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def score(self) -> float:
        """Validation score of the kept weights; NaN if failed."""
        return float(self.val_score[self.best_epoch]) if self.complete else float("nan")

    @property
    def warm_seconds(self) -> Floats:
        """Seconds of each epoch, (E,), where all views are cached."""
        return self.seconds - self.feature_seconds

    def cold_seconds(self, known: set[str]) -> Floats:
        """Seconds of each epoch, (E,), where only the known views are cached; the trial's views are known afterwards.

        Args:
            known: Keys of the views that earlier trials of a search computed; updated.
        """
        seconds = self.warm_seconds
        for key, epoch, cost in zip(self.views, self.view_epochs, self.view_seconds, strict=True):
            if key not in known:
                seconds[epoch] += np.nan_to_num(cost)
        known.update(self.views)
        return seconds

    def row(self) -> dict[str, Any]:
        """Plain values, from which :func:`trial_of` makes an equal trial."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def trial_of(row: dict[str, Any]) -> RecordedTrial:
    """The trial of plain values."""
    return RecordedTrial(**{name: _parsed(name, value) for name, value in row.items()})


def _parsed(name: str, value: Any) -> Any:
    kind = _SCHEMA.field(name).type
    if not pa.types.is_list(kind):
        return value
    if pa.types.is_string(kind.value_type):
        return tuple(value)
    dtype = np.float64 if pa.types.is_floating(kind.value_type) else kind.value_type.to_pandas_dtype()
    return np.asarray(value, dtype)


@dataclass(frozen=True)
class Recording:
    """Trials, and what they have in common.

    Attributes:
        trials: In the order of recording: by number.
        datasets: By name: ``classes``, number of ``train`` images, labels of the ``val`` and ``test`` images.
        sessions: By key: machine, threads, versions, commit, seconds to trace each backbone.
        settings: Image size, limits of the images, numbers and seeds a cell.
    """

    trials: tuple[RecordedTrial, ...]
    datasets: dict[str, dict[str, Any]]
    sessions: dict[str, dict[str, Any]]
    settings: dict[str, Any]

    @cached_property
    def cells(self) -> dict[Cell, list[RecordedTrial]]:
        """Trials by cell, in order of number and seed."""
        found: dict[Cell, list[RecordedTrial]] = defaultdict(list)
        for trial in sorted(self.trials, key=lambda trial: (trial.number, trial.seed)):
            found[trial.cell].append(trial)
        return dict(found)

    def cell(self, dataset: str, backbone: str, strategy: str, seed: int = 0) -> list[RecordedTrial]:
        """Trials of a cell with one seed, by number."""
        return [trial for trial in self.cells.get((dataset, backbone, strategy), []) if trial.seed == seed]

    def labels(self, dataset: str, split: str) -> Classes:
        """Class of each image of ``val`` or ``test``, (N,)."""
        return np.asarray(self.datasets[dataset][split], np.uint8)


def read_recording(file: Path = RECORDING) -> Recording:
    """Read a recording."""
    table = pq.read_table(file)
    described = json.loads(table.schema.metadata[b"recording"])
    rows = ({**row, "config": json.loads(row["config"])} for row in table.to_pylist())
    return Recording(tuple(trial_of(row) for row in rows), **described)


def write_recording(recording: Recording, file: Path = RECORDING) -> None:
    """Write a recording as one compressed file; the seconds of a view are those of the trial that computed it."""
    rows = [{**trial.row(), "config": json.dumps(trial.config)} for trial in with_view_seconds(recording.trials)]
    described = {name: getattr(recording, name) for name in ("datasets", "sessions", "settings")}
    table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({"recording": json.dumps(described)}))
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, compression="zstd", compression_level=19)


def with_view_seconds(trials: Sequence[RecordedTrial]) -> list[RecordedTrial]:
    """Trials whose views have the median of the seconds that trials took to compute them."""
    measured: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for key, seconds in zip(trial.views, trial.view_seconds, strict=True):
            if not np.isnan(seconds):
                measured[key].append(float(seconds))

    def known(keys: Iterable[str]) -> Floats:
        return np.array([np.median(measured[key]) if key in measured else np.nan for key in keys], np.float64)

    return [replace(trial, view_seconds=known(trial.views)) for trial in trials]
