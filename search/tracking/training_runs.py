"""The MLflow runs of trials and finals: start, metrics of an epoch, costs, checks and mistakes at the end."""

from __future__ import annotations

import json
import traceback
from collections.abc import Collection, Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...objectives.epochs import EpochResult
from ...storage.tracking.tracker import TrackedRun, Tracker
from ..analysis.confusion import Mistake, confusion, worst_mistakes
from ..records import STRATEGY, FinalRecord, TrialRecord
from .keys import final_key, strategy_key, trial_key
from .mistake_sheet import mistake_sheet

if TYPE_CHECKING:
    from ...objectives.data.dataset import ImageDataset, ImageSplit
    from ...objectives.finetune import FinetuneResult

# How many of a final's mistakes are shown.
WORST = 12
_MISTAKE_COLUMNS = ["test image", "true class", "taken for", "probability", "probability of true class"]
# MLflow's usual words for what a split is for.
_CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


# The curve of a training's validation scores, which are the study's too.
SCORE_CURVE = "curves/val_score"


def epoch_metrics(result: EpochResult) -> dict[str, float]:
    """An epoch as MLflow metrics.

    MLflow draws a chart of every metric, in sections by what is before the slash, in alphabetical order and what has
    none last: so curves come before all that has only one value.
    """
    rates = {f"learning_rate/{part}": rate for part, rate in result.learning_rates.items()}
    losses = {"curves/train_loss": result.train_loss, "curves/val_loss": result.val_loss}
    return {**losses, SCORE_CURVE: result.score, **rates}


def log_unseen(run: TrackedRun, result: FinetuneResult, seen: Collection[int]) -> None:
    """Log the epochs of earlier workers again: what they said may have been lost with them."""
    for epoch in result.epochs:
        if epoch.epoch not in seen:
            run.log_step(epoch.epoch, epoch_metrics(epoch))


def describe(result: FinetuneResult) -> dict[str, Any]:
    """Costs, checks and metrics of a training, as plain values."""
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


def log_certificate(run: TrackedRun, result: FinetuneResult) -> None:
    """Keep with a run what each phase froze and trained, with the proof."""
    run.log_json("certificate.json", [certificate.describe() for certificate in result.certificates])


def log_traceback(run: TrackedRun, error: Exception) -> None:
    """Keep with a run where in the code it failed; the latest failure counts."""
    run.log_text("traceback.txt", "".join(traceback.format_exception(error)))


def trial_name(number: int, config: Mapping[str, Any], backbone: str) -> str:
    """Of a trial's run, while it trains: ``017 partial d=6 resnet50``.

    Args:
        number: Of the trial.
        config: Its active parameters by dotted name.
        backbone: Name of the network.
    """
    return f"{number:03d} {config[STRATEGY]} d={config['freeze_depth']} {backbone}"


def finish_trial_run(
    run: TrackedRun, trial: TrialRecord, backbone: str, outcome: Mapping[str, Any], logged: Container[int] = ()
) -> None:
    """Log how a trial ended, and end its run, with the score in its name.

    Args:
        run: The trial's.
        trial: As the study knows it.
        backbone: Its name.
        outcome: What the study notes of its end.
        logged: Epochs that need not be told again; what was said of the others may have been lost with a worker.
    """
    for epoch, score in trial.curve.items():
        if epoch not in logged:
            run.log_step(epoch, {SCORE_CURVE: score})
    scores = {} if trial.score is None else {"score": trial.score}
    reason = {"reason": outcome["reason"]} if "reason" in outcome else {}
    run.log_summary({**scores, **numbers(outcome)}, {"trial.state": trial.state, **reason})
    end = [
        *([] if trial.score is None else [f"{trial.score:.3f}"]),
        *([] if trial.state == "complete" else [trial.state]),
    ]
    name = " ".join([trial_name(trial.number, trial.config, backbone), *end]) if trial.config else None
    run.finish("FAILED" if trial.state == "failed" else "FINISHED", name, trial.finished)


def log_mistakes(run: TrackedRun, test: ImageSplit, probabilities: NDArray[np.float32], folder: Path) -> None:
    """Add to a final's run what it takes for what, and the mistakes of which it is surest, with their pictures.

    Args:
        run: Of the final.
        test: The test images.
        probabilities: Of their classes (N, K).
        folder: For files until they are sent.
    """
    table = confusion(test.labels, probabilities, test.classes)
    rows = zip(table.classes, table.counts.tolist(), strict=True)
    run.log_table("confusion.json", ["true class", *table.classes], [[name, *row] for name, row in rows])
    worst = worst_mistakes(test.labels, probabilities, WORST)
    if worst:
        run.log_table("worst_mistakes.json", _MISTAKE_COLUMNS, [_row(mistake, test) for mistake in worst])
        mistake_sheet(worst, test).save(folder / "worst_mistakes.png")
        run.log_file(folder / "worst_mistakes.png")


def _row(mistake: Mistake, test: ImageSplit) -> list[Any]:
    names = test.classes[mistake.label], test.classes[mistake.predicted]
    return [mistake.image, *names, round(mistake.probability, 6), round(mistake.label_probability, 6)]


def describe_datasets(dataset: ImageDataset, data: str) -> list[dict[str, str]]:
    """The splits of a dataset as MLflow's dataset inputs: the digest says which images they are, and which split.

    Args:
        dataset: The images.
        data: What the user called it.
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
    """The stored canvases (N, R, R, 3) and labels (N,), as MLflow writes schemas of tensors."""
    side = dataset.preprocessing.resize_size
    shapes = {"features": ("uint8", [-1, side, side, 3]), "targets": ("int64", [-1])}
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
        "canvas_px": dataset.preprocessing.resize_size,
        "network_sees_px": dataset.preprocessing.image_size,
        "fingerprint": dataset.fingerprint,
    }


def numbers(outcome: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in outcome.items() if isinstance(value, int | float)}


def start_trial_run(tracker: Tracker, number: int, config: Mapping[str, Any], backbone: str) -> TrackedRun:
    """The run of a trial.

    Args:
        tracker: Of the study.
        number: Of the trial.
        config: Its active parameters by dotted name.
        backbone: Name of the network.
    """
    tags = {STRATEGY: str(config[STRATEGY]), "kind": "trial"}
    return tracker.run(trial_key(number), trial_name(number, config, backbone), config, tags)


def start_final_run(
    tracker: Tracker, strategy: str, trial_number: int, seed: int, config: Mapping[str, Any]
) -> TrackedRun:
    """The run of a final, below that of its strategy.

    Args:
        tracker: Of the study.
        strategy: Of the finalist.
        trial_number: The trial whose configuration it is.
        seed: Of the training.
        config: Active parameters of that trial.
    """
    return tracker.run(
        final_key(strategy, trial_number, seed),
        f"seed {seed} {strategy}",
        {**config, "seed": seed, "trial": trial_number},
        {STRATEGY: strategy, "kind": "final"},
        parent=strategy_key(strategy),
    )


def finish_final_run(run: TrackedRun, final: FinalRecord, costs: Mapping[str, float]) -> None:
    """Log how a final ended, and end its run, with the test score in its name."""
    # As for a trial, `score` is the best of the epochs' `val_score`.
    scores = {"score": final.val_score, "test_score": final.test_score}
    scores |= {f"test/{name}": value for name, value in final.metrics.items()}
    run.log_summary({**costs, **scores}, {"trial.state": "complete"})
    run.finish("FINISHED", f"seed {final.seed} {final.strategy} {final.test_score:.3f}")
