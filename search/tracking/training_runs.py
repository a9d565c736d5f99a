"""The MLflow runs of trials and finals: start, metrics per epoch, then costs, certificate and errors at the end."""

from __future__ import annotations

import json
import traceback
from collections.abc import Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...objectives.epochs import EpochResult
from ...storage.tracking import TrackedRun, Tracker
from ..analysis import Errors, Mistake
from ..records import STRATEGY, FinalRecord, FoldRecord, TrialRecord, finalist_name, mean_score
from .keys import final_key, strategy_key, trial_key
from .mistake_sheet import mistake_sheet

if TYPE_CHECKING:
    from ...objectives.data import ImageDataset, ImageSplit
    from ...objectives.finetune import FinetuneResult
    from ..analysis import Contender

_MISTAKE_COLUMNS = ["test image", "true class", "taken for", "probability", "probability of true class"]
_MISTAKE_COLUMNS += ["trainings that are wrong"]
# MLflow's names for the use of a split.
_CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


# Metric of the validation scores by epoch, which the study has too.
SCORE_CURVE = "curves/val_score"


def epoch_metrics(result: EpochResult) -> dict[str, float]:
    """Return the MLflow metrics of an epoch.

    MLflow groups charts by the part before the slash, in alphabetical order, and metrics without a slash come last. So
    learning curves come before metrics with one value.
    """
    rates = {f"learning_rate/{part}": rate for part, rate in result.learning_rates.items()}
    losses = {"curves/train_loss": result.train_loss, "curves/val_loss": result.val_loss}
    return {**losses, SCORE_CURVE: result.score, **rates}


def fold_metrics(place: int, folds: Sequence[FoldRecord]) -> dict[str, float]:
    """Return the MLflow metrics of a fold: its score, and the mean of the folds so far, which the study compares.

    Args:
        place: Number of the fold, from 0.
        folds: What it and the folds before it came to; further ones are ignored.
    """
    return {SCORE_CURVE: mean_score(folds[: place + 1]), "curves/fold_score": folds[place].score}


def log_unseen(run: TrackedRun, result: FinetuneResult, seen: Collection[int]) -> None:
    """Log the epochs of earlier workers again, whose records may be lost."""
    for epoch in result.epochs:
        if epoch.epoch not in seen:
            run.log_step(epoch.epoch, epoch_metrics(epoch))


def describe(result: FinetuneResult) -> dict[str, Any]:
    """Return the costs, checks and metrics of a training as plain values."""
    last = result.certificates[-1]
    micro_batch = result.epochs[-1].micro_batch
    return {
        **({} if micro_batch is None else {"micro_batch": micro_batch}),
        "seconds": result.seconds,
        "best_epoch": result.best_epoch,
        "trainable_parameters": result.trainable_parameters,
        "peak_memory_mb": result.peak_memory_bytes / 2**20,
        "freeze_depth": last.freeze_depth,
        "frozen_parameters": last.frozen_parameters,
        "frozen_parameter_share": result.frozen_share[0],
        "frozen_flop_share": result.frozen_share[1],
        **{f"val/{name}": value for name, value in result.val_metrics.items()},
    }


def log_certificate(run: TrackedRun, result: FinetuneResult, name: str = "certificate") -> None:
    """Log the certificate of each phase."""
    run.log_json(f"{name}.json", [certificate.describe() for certificate in result.certificates])


def log_traceback(run: TrackedRun, error: Exception) -> None:
    """Log the traceback of a failure; a later failure replaces it."""
    run.log_text("traceback.txt", "".join(traceback.format_exception(error)))


def trial_name(number: int, config: Mapping[str, Any], backbone: str) -> str:
    """Return the name of a trial's run while it trains.

    Args:
        number: Number of the trial.
        config: Active parameters by dotted name.
        backbone: Name of the backbone.

    Examples:
        >>> from frostline.search.tracking.training_runs import trial_name
        >>> trial_name(17, {"strategy": "partial", "freeze_depth": 6}, "resnet50")
        '017 partial d=6 resnet50'
    """
    return f"{number:03d} {config[STRATEGY]} d={config['freeze_depth']} {backbone}"


def finish_trial_run(
    run: TrackedRun, trial: TrialRecord, backbone: str, outcome: Mapping[str, Any], logged: Container[int] = ()
) -> None:
    """Log the end of a trial and finish its run, with the score in its name.

    Args:
        run: Run of the trial.
        trial: Record of the trial.
        backbone: Name of the backbone.
        outcome: Recorded costs and checks of the trial.
        logged: Epochs that are logged already; the records of others may be lost with a worker.
    """
    for epoch, score in trial.curve.items():
        if epoch not in logged:
            run.log_step(epoch, fold_metrics(epoch, trial.folds) if trial.folds else {SCORE_CURVE: score})
    scores = {} if trial.score is None else {"score": trial.score}
    reason = {"reason": outcome["reason"]} if "reason" in outcome else {}
    run.log_summary({**scores, **numbers(outcome)}, {"trial.state": trial.state, **reason})
    end = [
        *([] if trial.score is None else [f"{trial.score:.3f}"]),
        *([] if trial.state == "complete" else [trial.state]),
    ]
    name = " ".join([trial_name(trial.number, trial.config, backbone), *end]) if trial.config else None
    run.finish("FAILED" if trial.state == "failed" else "FINISHED", name, trial.finished)


def log_errors(run: TrackedRun, errors: Errors) -> None:
    """Log the confusion matrix and the most confident mistakes of a final, or of a finalist over its finals."""
    classes, counts = errors.confusion.classes, errors.confusion.counts.tolist()
    rows = [[name, *row] for name, row in zip(classes, counts, strict=True)]
    run.log_table("confusion.json", ["true class", *classes], rows)
    if errors.mistakes:
        worst = [_row(mistake, classes) for mistake in errors.mistakes]
        run.log_table("worst_mistakes.json", _MISTAKE_COLUMNS, worst)


def log_mistake_sheet(run: TrackedRun, errors: Errors, test: ImageSplit, folder: Path) -> None:
    """Log the images of a final's most confident mistakes.

    Args:
        run: Run of the final.
        errors: Errors of the final.
        test: Test split.
        folder: Folder for files until they are uploaded.
    """
    if errors.mistakes:
        # The least compression takes half the time of the usual one, and makes a file of photos 5 % larger.
        mistake_sheet(errors.mistakes, test).save(folder / "worst_mistakes.png", compress_level=1)
        run.log_file(folder / "worst_mistakes.png")


def _row(mistake: Mistake, classes: Sequence[str]) -> list[Any]:
    names = classes[mistake.label], classes[mistake.predicted]
    return [mistake.image, *names, round(mistake.probability, 6), round(mistake.label_probability, 6), mistake.wrong]


def describe_datasets(dataset: ImageDataset, data: str) -> list[dict[str, str]]:
    """Return the splits of a dataset as MLflow dataset inputs, whose digest identifies images and split.

    Args:
        dataset: Dataset.
        data: Name of the dataset as the user gave it.
    """
    source = {"source_type": "local" if Path(data).exists() else "external", "source": json.dumps({"uri": data})}
    return [
        {
            "name": f"{dataset.name} {split}",
            "digest": dataset.split_fingerprint[:32],
            "context": context,
            **source,
            "schema": json.dumps(_schema(dataset)),
            "profile": json.dumps(_profile(dataset, split)),
        }
        for split, context in _CONTEXTS.items()
    ]


def _schema(dataset: ImageDataset) -> dict[str, Any]:
    """Return the schema of the decoded images (N, R, R, C) and labels (N,), as MLflow writes tensors."""
    side, channels = dataset.preprocessing.canvas_size, dataset.preprocessing.channels
    shapes = {"features": ("uint8", [-1, side, side, channels]), "targets": ("int64", [-1])}
    described = {
        part: json.dumps([{"type": "tensor", "tensor-spec": {"dtype": kind, "shape": shape}}])
        for part, (kind, shape) in shapes.items()
    }
    return {"mlflow_tensorspec": described}


def _profile(dataset: ImageDataset, split: str) -> dict[str, Any]:
    counts = dataset.counts[split]
    return {
        "num_rows": sum(counts.values()),
        "num_classes": len(counts),
        "images_per_class": counts,
        "files_left_out": len(dataset.skipped),
        "canvas_px": dataset.preprocessing.canvas_size,
        "network_sees_px": dataset.preprocessing.image_size,
        "fingerprint": dataset.fingerprint,
    }


def numbers(outcome: Mapping[str, Any]) -> dict[str, float]:
    """Return those plain values that MLflow shows as metrics."""
    return {name: value for name, value in outcome.items() if isinstance(value, int | float)}


def start_trial_run(tracker: Tracker, number: int, config: Mapping[str, Any], backbone: str) -> TrackedRun:
    """Start the run of a trial.

    Args:
        tracker: Tracker of the study.
        number: Number of the trial.
        config: Active parameters by dotted name.
        backbone: Name of the backbone.
    """
    tags = {STRATEGY: str(config[STRATEGY]), "kind": "trial"}
    return tracker.run(trial_key(number), trial_name(number, config, backbone), config, tags)


def start_final_run(
    tracker: Tracker, strategy: str, trial_number: int, seed: int, config: Mapping[str, Any]
) -> TrackedRun:
    """Start the run of a final, below the run of its strategy.

    Args:
        tracker: Tracker of the study.
        strategy: Name of the strategy.
        trial_number: Number of the trial whose configuration is retrained.
        seed: Seed of the training.
        config: Active parameters of that trial.
    """
    return tracker.run(
        final_key(strategy, trial_number, seed),
        f"seed {seed} {finalist_name(strategy, trial_number)}",
        {**config, "seed": seed, "trial": trial_number},
        {STRATEGY: strategy, "kind": "final"},
        parent=strategy_key(strategy),
    )


def test_numbers(tested: FinalRecord | Contender) -> dict[str, float]:
    """Return all metrics on the test split of a final, or of a strategy over its finals, as MLflow shows them."""
    temperature = {} if tested.temperature is None else {"temperature": tested.temperature}
    before = {f"test/{name}": value for name, value in tested.metrics.items()}
    after = {f"test_calibrated/{name}": value for name, value in tested.calibrated_metrics.items()}
    return {**temperature, **before, **after}
