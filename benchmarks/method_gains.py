"""What methods that are no defaults gain in test accuracy, each beside the same training without it.

    python benchmarks/method_gains.py --keep                    # 20 minutes on two cores
    python benchmarks/method_gains.py --only attention          # those whose names have the word
    python benchmarks/method_gains.py --transformer --keep      # half an hour

Both sides share seed, images and all other values; each seed divides training and validation images anew. A gain is
one where the interval lies above zero. The transformer is a small one, which is trained on satellite photos first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness, small_vit
from benchmarks.harness import Report, Setting
from benchmarks.paired_scores import half_width, interval, scored_settings, test_accuracy
from frostline.objectives.heap import keep_freed_memory


@dataclass(frozen=True)
class Method:
    """A method beside the training without it.

    Attributes:
        name: As the table has it.
        without: Configuration by dotted name.
        with_it: The values that differ.
    """

    name: str
    without: dict[str, Any]
    with_it: dict[str, Any]


_PROBED = {
    "strategy": "feature_extraction",
    "epochs": 30,
    "head.init": "probe",
    "weight_decay": 1e-3,
    "warmup": 0.1,
    "head.dropout": 0.1,
    "learning_rate": 3e-4,
}
_HEADS = (
    Method("a head on 4 units", {**_PROBED, "learning_rate": 3e-3}, {"head.depths": 4}),
    Method("a solved head on 4 units", {"strategy": "linear_probe_exact"}, {"head.depths": 4}),
    Method("attention pooling", _PROBED, {"head.pooling": "attention"}),
)
_TUNED = {"strategy": "full", "epochs": 6, "batch_norm": "eval"}
_GRADUAL = {"strategy": "gradual_unfreezing", "epochs": 12, "patience": 2, "layer_decay": 0.8, "batch_norm": "eval"}
_BY_SGD = {"strategy": "full", "optimizer": "sgd", "learning_rate": 3e-3, "backbone_lr_ratio": 0.3, "epochs": 10}
# Of convolutional networks, with published weights, and of a transformer.
METHODS = (
    *_HEADS,
    Method("auto_rgn", _TUNED, {"strategy": "auto_rgn"}),
    Method("auto_rgn, rate of the head", _TUNED, {"strategy": "auto_rgn", "backbone_lr_ratio": 1.0}),
    Method("gradual unfreezing by plateaus", _GRADUAL, {"unfreeze_every": 0}),
)
TRANSFORMER_METHODS = (
    *_HEADS,
    Method("frozen embedding, SGD", _BY_SGD, {"freeze_embedding": True}),
    Method("frozen embedding, SGD, 3x the rate", {**_BY_SGD, "learning_rate": 1e-2}, {"freeze_embedding": True}),
)
# Datasets on which the transformer is measured.
FAR_FROM_SATELLITES = ("garments_small", "blood_cells")
# Of the transformer's own training.
EPOCHS = 20
COLUMNS = ("method", "dataset", "network", "without, %", "with, %", "gain, points (95 %)", "gained", "seeds")


def add(report: Report, settings: Sequence[Setting], methods: Sequence[Method], seeds: int) -> None:
    """Rows of every method on every dataset, paired by seed, of the division and of the training."""
    table = report.table("Test accuracy", *COLUMNS)
    for own in settings:
        with harness.scratch_folder() as folder:
            drawn = [own.dataset(folder, seed) for seed in range(seeds)]
            tasks = [(own.task(dataset), dataset.open_test()) for dataset in drawn]
        for method in methods:
            without, with_it = (
                [test_accuracy({**method.without, **more}, *task, seed) for seed, task in enumerate(tasks)]
                for more in ({}, method.with_it)
            )
            gains = [ours - theirs for ours, theirs in zip(with_it, without, strict=True)]
            table.add(
                *(method.name, Path(own.data).name, f"{own.backbone}, {own.image_size} px"),
                *(f"{statistics.mean(each):.2f}" for each in (without, with_it)),
                *(interval(gains), _judge(gains), seeds),
            )
            print("\t".join(table.rows[-1]), flush=True)


def add_transformer(report: Report, folder: Path, methods: Sequence[Method], seeds: int, epochs: int) -> None:
    """Rows of every method of a transformer, which is trained first."""
    file = folder / "small_vit.safetensors"
    accuracy = small_vit.pretrain(file, folder, epochs)
    report.notes.append(f"The transformer was trained on EuroSAT: validation accuracy {100 * accuracy:.1f} %.")
    spec = {"backbone": small_vit.NAME, "weights": str(file), "image_size": small_vit.SIZE}
    settings = [Setting(data=str(harness.SHARED / "data" / name), **spec) for name in FAR_FROM_SATELLITES]
    add(report, settings, methods, seeds)


def _judge(gains: Sequence[float]) -> str:
    mean, half = statistics.mean(gains), half_width(gains)
    return "yes" if mean > half else "lost" if mean < -half else "no"


def _named(methods: Sequence[Method], word: str) -> list[Method]:
    return [method for method in methods if word in method.name]


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--seeds", type=int, default=5, help="of each training (%(default)s)")
    options.add_argument("--transformer", action="store_true", help="of a transformer instead")
    options.add_argument("--only", default="", metavar="WORD", help="methods whose names have this word")
    arguments: argparse.Namespace = options.parse_args()
    # As a search does.
    keep_freed_memory()
    seeds, epochs = (2, 1) if arguments.quick else (arguments.seeds, EPOCHS)
    chosen = harness.setting(arguments)
    name = "method_gains_transformer" if arguments.transformer else "method_gains"
    report = Report(name, "What methods gain that are no defaults.", chosen)
    if arguments.transformer:
        with harness.scratch_folder() as folder:
            add_transformer(report, folder, _named(TRANSFORMER_METHODS, arguments.only), seeds, epochs)
    else:
        add(report, scored_settings(chosen), _named(METHODS, arguments.only), seeds)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
