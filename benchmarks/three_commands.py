"""From a table of images to a verdict, a network in ONNX and predictions: three commands on every dataset.

    python benchmarks/three_commands.py --keep                  # 20 minutes on two cores

Then the exported network, the ONNX file and the registered model classify every test image, and must agree: the
largest difference of a probability is at most 1e-4. ONNX runs in onnxruntime, on images that torchvision's own
transforms prepare; the registered model is loaded by MLflow and gets the files in base64.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pandas
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import SHARED, Report, Setting, at_most

DATASETS = ("garments_small", "flowers", "blood_cells", "clothing", "eurosat")
MOST = 1e-4
Probabilities = NDArray[np.float64]


def write_table(data: Path, file: Path) -> list[Path]:
    """Write a table of a folder's images with their classes and splits.

    Args:
        data: Folder with ``train/CLASS/`` and ``test/CLASS/``.
        file: CSV file to write.

    Returns:
        The test images, in the order of the table.
    """
    images = sorted(data.glob("*/*/*.jpg"))
    rows = [(each.relative_to(data), each.parent.name, each.parent.parent.name) for each in images]
    pandas.DataFrame(rows, columns=["path", "label", "split"]).to_csv(file, index=False)
    return [each for each in images if each.parent.parent.name == "test"]


def command(folder: Path, *arguments: object) -> tuple[str, float]:
    """Output and wall seconds of a command, which works in a folder's workspace."""
    started = time.perf_counter()
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("frostline")), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"frostline {arguments[0]} failed:\n{ended.stderr}")
    return ended.stdout, time.perf_counter() - started


def read_predictions(text: str, images: Sequence[Path], classes: Sequence[str]) -> Probabilities:
    """Probabilities (N, classes) of images, from what ``frostline predict --csv`` printed."""
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(text))}
    found = np.zeros((len(images), len(classes)))
    for place, image in enumerate(images):
        row = rows["/".join(image.parts[-3:])]
        for rank in range(1, len(classes) + 1):
            found[place, classes.index(row[f"class_{rank}"])] = float(row[f"probability_{rank}"])
    return found


def by_onnx(exported: Path, images: Sequence[Path]) -> Probabilities:
    """Probabilities (N, classes) by onnxruntime, of images that torchvision prepares."""
    own = json.loads((exported / "config.json").read_text(encoding="utf-8"))["preprocessing"]
    assert own["crop_mode"] == "center", own
    assert own["interpolation"] == "bilinear", own
    prepare = v2.Compose(
        [
            v2.Resize(own["resize_size"]),
            v2.CenterCrop(own["image_size"]),
            v2.PILToTensor(),
            v2.ConvertImageDtype(),
            v2.Normalize(own["mean"], own["std"]),
        ]
    )
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    logits = []
    for image in images:
        with Image.open(image) as opened:
            (found,) = session.run(None, {name: prepare(opened.convert("RGB"))[None].numpy()})
            logits.append(np.asarray(found)[0])
    odds = np.exp(np.array(logits, np.float64))
    return odds / odds.sum(axis=1, keepdims=True)


def by_mlflow(folder: Path, name: str, images: Sequence[Path], classes: Sequence[str]) -> Probabilities:
    """Probabilities (N, classes) by the registered model, from the files in base64."""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'frostline-workspace/mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    answer = model.predict(
        pandas.DataFrame({"image": [base64.b64encode(each.read_bytes()).decode() for each in images]})
    )
    return answer[[f"probability_{each}" for each in classes]].to_numpy(np.float64)


def measure(setting: Setting, datasets: Sequence[str], trials: int) -> Report:
    """The three commands on every dataset, and how far their networks are apart."""
    report = Report("three_commands", "From a table to a verdict, ONNX and predictions; all copies agree.", setting)
    columns = ("test images", "search, s", "export, s", "predict, s", "accuracy, %", "ONNX apart", "served apart")
    table = report.table("Datasets", "dataset", *columns, "target", "met")
    for name in datasets:
        data = SHARED / "data" / name
        with harness.scratch_folder() as folder:
            images = write_table(data, folder / f"{name}.csv")
            network = ("--backbone", setting.backbone, "--weights", Path(setting.weights).resolve())
            size = ("--image-size", setting.image_size, "--trials", trials, "--seeds", 2)
            place = ("--image-root", data.resolve())
            _, searched = command(folder, "search", f"{name}.csv", *network, *size, *place, "--name", name)
            _, exported = command(folder, "export", name, "--to", "best")
            classes = json.loads((folder / "best/config.json").read_text(encoding="utf-8"))["classes"]
            text, predicted = command(folder, "predict", "best", f"{name}.csv", *place, "--csv", "--top", len(classes))
            own = read_predictions(text, images, classes)
            apart = [
                float(np.abs(other - own).max())
                for other in (by_onnx(folder / "best", images), by_mlflow(folder, name, images, classes))
            ]
            right = np.mean(
                [classes[row.argmax()] == image.parent.name for row, image in zip(own, images, strict=True)]
            )
        seconds = (f"{each:.0f}" for each in (searched, exported, predicted))
        target = at_most(MOST)
        judged = target.judge([max(apart)])
        table.add(name, len(images), *seconds, f"{100 * right:.1f}", *(f"{each:.1g}" for each in apart), target, judged)
        print("\t".join(table.rows[-1]), flush=True)
    report.notes.append(f"{trials} trials and 2 seeds each; predictions are those of all images of the table.")
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--trials", type=int, default=5, help="of each search (%(default)s)")
    options.set_defaults(
        backbone="squeezenet1_1", weights=str(SHARED / "weights/squeezenet1_1_imagenet.safetensors"), image_size=64
    )
    arguments: argparse.Namespace = options.parse_args()
    datasets = DATASETS[:1] if arguments.quick else DATASETS
    harness.finish(measure(harness.setting(arguments), datasets, arguments.trials), arguments)


if __name__ == "__main__":
    main()
