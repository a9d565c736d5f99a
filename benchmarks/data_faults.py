"""Whether planted faults of the data are found: precision and recall of copies and of label errors.

    python benchmarks/data_faults.py --keep          # ten minutes of one core
    python benchmarks/data_faults.py --quick

Beside the images of each dataset stand copies of up to 200 of its test images, of one kind at a time: the same bytes,
encoded again, resized, brighter, mirrored, cropped to 95, 90 or 80 % of the side. Wrong labels are drawn for 0, 5 and
10 % of the training and validation images. A pair of different images that is called a copy counts against precision,
unless the dataset has it before anything is planted; those pairs are counted apart.
Of label errors, every doubted label that was not planted counts against precision, though some are really wrong.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from frostline.objectives.config import BackboneSpec
from frostline.objectives.data import doubtful_labels, exact_groups, list_source, near_pairs, out_of_fold, to_canvas
from frostline.objectives.data.decoding import decode_image
from frostline.objectives.data.digests import content_digest
from frostline.objectives.devices import choose_device
from frostline.objectives.fault_finder import pooled_features
from frostline.objectives.networks import BackbonePool

DATASETS = ("garments_small", "flowers", "clothing", "blood_cells", "eurosat", "sklearn:digits")
# Largest number of copies of one kind.
PLANTED = 200
WRONG = (0.0, 0.05, 0.1)


def encoded(quality: int) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def encode(image: Image.Image, _: np.random.Generator) -> Image.Image:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality)
        return Image.open(data).convert("RGB")

    return encode


def resized(factor: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    return lambda image, _: image.resize((round(factor * image.width), round(factor * image.height)))


def cropped(share: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = round(share * image.width), round(share * image.height)
        left, top = (int(rng.integers(0, room + 1)) for room in (image.width - width, image.height - height))
        return image.crop((left, top, left + width, top + height))

    return crop


COPIES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "same bytes": lambda image, _: image,
    "JPEG, quality 60": encoded(60),
    "JPEG, quality 30": encoded(30),
    "half the size": resized(0.5),
    "twice the size": resized(2),
    "20 % brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.2),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "crop 95 %": cropped(0.95),
    "crop 90 %": cropped(0.9),
    "crop 80 %": cropped(0.8),
}


class Images:
    """The images of a dataset, decoded, with features.

    Args:
        name: Name of a folder of the test data, or ``sklearn:digits``.
        setting: Network, weights and size.
        cache: Folder of decoded images.
    """

    def __init__(self, name: str, setting: harness.Setting, cache: Path) -> None:
        source = name if ":" in name else str(harness.SHARED / "data" / name)
        self.setting = replace(setting, data=source)
        self.pool = BackbonePool(BackboneSpec(setting.backbone, setting.weights, setting.image_size))
        self.dataset = self.setting.dataset(cache)
        self.audited = self.dataset.audited()
        items = {item.name: item for item in list_source(source, download_dir=cache).items}
        self.files = [items[found.name] for found in self.audited.found]
        self.features = self.features_of(np.asarray(self.audited.whole.canvas))

    def features_of(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = np.arange(len(canvases))
        split = replace(self.audited.whole, canvas=canvases, indices=rows, labels=np.zeros(len(rows), dtype=np.int64))
        return pooled_features([split], self.pool, choose_device(self.setting.device))[0]


def plant_copies(images: Images, kind: str, rows: NDArray[np.int64]) -> tuple[set[Any], set[Any]]:
    """Plant copies of images; return the pairs that are found, and those that were planted."""
    count = len(images.files)
    planted = {(int(row), count + place) for place, row in enumerate(rows)}
    if kind == "same bytes":
        digests = [*images.audited.digests, *(content_digest(images.files[row].read()) for row in rows)]
        return {tuple(group) for group in exact_groups(digests)}, planted
    rng = np.random.default_rng(1)
    copies = [COPIES[kind](decode_image(images.files[row].read()), rng) for row in rows]
    added = np.stack([to_canvas(copy, images.dataset.preprocessing) for copy in copies])
    canvases = np.concatenate([images.audited.whole.canvas, added])
    features = np.concatenate([images.features, images.features_of(added)])
    return set(map(tuple, near_pairs(canvases, features).tolist())), planted


def measure_copies(images: Images, table: harness.Table, limit: int) -> None:
    name = images.dataset.name
    tested = np.array([found.row for found in images.audited.found if found.split == "test"])
    rows = np.random.default_rng(0).choice(tested, min(limit, len(tested)), replace=False)
    before = set(map(tuple, near_pairs(images.audited.whole.canvas, images.features).tolist()))
    for kind in COPIES:
        found, planted = plant_copies(images, kind, rows)
        # Copies of images that have near copies are copies of those too.
        known = {row for pair in before for row in pair}
        new = {pair for pair in found - before if pair in planted or not known & set(pair)}
        right = len(new & planted)
        precision = f"{right / len(new):.3f}" if new else "-"
        table.add(name, len(images.files), len(before), kind, len(planted), precision, f"{right / len(planted):.3f}")
        print(table.rows[-1], flush=True)


def measure_labels(images: Images, table: harness.Table) -> None:
    searched = np.array([found.row for found in images.audited.found if found.split != "test"])
    labels, classes = images.audited.whole.labels[searched], len(images.dataset.classes)
    for share in WRONG:
        rng = np.random.default_rng(2)
        wrong = rng.random(len(labels)) < share
        given = np.where(wrong, (labels + rng.integers(1, classes, len(labels))) % classes, labels)
        probabilities = out_of_fold(images.features[searched], given)
        right = float((probabilities.argmax(axis=1) == labels).mean())
        doubted = [doubt.position for doubt in doubtful_labels(probabilities, given)]
        hits = int(wrong[doubted].sum())
        precision = f"{hits / len(doubted):.2f}" if doubted and share else "-"
        recall = f"{hits / wrong.sum():.2f}" if wrong.any() else "-"
        table.add(
            *(images.dataset.name, len(labels), f"{100 * right:.1f}", f"{100 * share:.0f}", int(wrong.sum())),
            *(len(doubted), precision, recall),
        )
        print(table.rows[-1], flush=True)


def measure(setting: harness.Setting, datasets: tuple[str, ...], limit: int) -> harness.Report:
    """Measure copies and label errors of some datasets.

    Args:
        setting: Network, weights, size and device.
        datasets: Names of the datasets.
        limit: Largest number of copies of one kind.
    """
    report = harness.Report(
        "data_faults", "Planted faults of the data: how many are found, how many are none.", setting
    )
    columns = ("dataset", "images", "pairs before", "copies", "planted", "precision", "recall")
    copies = report.table("Copies of test images", *columns)
    columns = ("dataset", "images", "probe right, %", "wrong, %", "planted", "doubted", "precision", "recall")
    labels = report.table("Label errors", *columns)
    for name in datasets:
        with harness.scratch_folder() as cache:
            images = Images(name, setting, cache)
            measure_copies(images, copies, limit)
            measure_labels(images, labels)
    report.notes.append(
        "pairs before: near copies that the dataset has. Looked at: in clothing one photo under two labels, in "
        "blood_cells overlapping patches, in eurosat three almost uniform green tiles, which may be different ones."
    )
    report.notes.append("label errors: what is doubted with 0 % planted is hard, or wrong in the dataset itself.")
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--datasets", nargs="+", default=DATASETS, metavar="NAME", help="of the test data")
    arguments: argparse.Namespace = options.parse_args()
    setting = harness.setting(arguments)
    datasets = tuple(arguments.datasets[-1:] if setting.quick else arguments.datasets)
    torch.set_grad_enabled(False)
    harness.finish(measure(setting, datasets, limit=10 if setting.quick else PLANTED), arguments)


if __name__ == "__main__":
    main()
