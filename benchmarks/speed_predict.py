"""How fast `frostline predict` classifies image files, against a bare batched loop.

    python benchmarks/speed_predict.py --pairs 5 --keep      # some minutes on two cores

The bare loop reads a batch of files with Pillow, applies torchvision's own transforms to each, and runs the same
network on the stacked tensors. A second one has a DataLoader with two worker processes do the reading. Both give the
same probabilities as Frostline, which is checked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, at_least
from frostline.objectives.backbones import create_backbone, preprocessing_for
from frostline.objectives.config import HeadConfig
from frostline.objectives.data import images_below
from frostline.objectives.devices import autocast, choose_device, usual_precision
from frostline.objectives.networks import Classifier, ModelCard, TrainedModel, create_head
from frostline.objectives.preprocessing import Preprocessing

BATCH = 64
CLASSES = 10
COLUMNS = (
    "against",
    "images",
    "images a second",
    "bare",
    "times as fast: median [lowest, highest]",
    "n",
    "target",
    "met",
)


class Photos(Dataset[Tensor]):
    """Files as torchvision's transforms prepare them."""

    def __init__(self, files: list[Path], given: Preprocessing) -> None:
        self.files = files
        self._transform = v2.Compose(
            [
                v2.Resize(given.resize_size, v2.InterpolationMode(given.interpolation)),
                v2.CenterCrop(given.image_size),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(given.mean), list(given.std)),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Tensor:
        with Image.open(self.files[place]) as image:
            return self._transform(image.convert("RGB"))


def trained_model(setting: Setting) -> tuple[Classifier, TrainedModel]:
    """The network with a random head: as the bare loops run it, and as `predict` does."""
    device = choose_device(setting.device)
    given = preprocessing_for(setting.backbone, setting.weights, setting.image_size)
    backbone = create_backbone(setting.spec).to(device)
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, CLASSES).to(device)
    network = Classifier(backbone.segment(0, len(backbone.units)), head, 1.0).eval().requires_grad_(False)
    card = ModelCard(
        backbone=setting.backbone,
        pretrained=True,
        truncate=0,
        freeze_depth=0,
        head=HeadConfig(),
        classes=tuple(map(str, range(CLASSES))),
        preprocessing=given,
    )
    return network, TrainedModel(card, network.folded(), device)


def bare(network: nn.Module, batches: Callable[[], Iterable[Tensor]], device: torch.device) -> np.ndarray:
    """Probabilities (N, classes) by a bare loop."""
    found = []
    with torch.inference_mode(), autocast(device, usual_precision(device)):
        for images in batches():
            found.append(network(images.to(device, memory_format=torch.channels_last)).softmax(dim=1).cpu().numpy())
    return np.concatenate(found)


def rivals(photos: Photos) -> dict[str, Callable[[], Iterable[Tensor]]]:
    """The bare loops, as what gives their batches, by name."""
    return {
        "loop": lambda: (
            torch.stack([photos[place] for place in range(start, min(start + BATCH, len(photos)))])
            for start in range(0, len(photos), BATCH)
        ),
        "loop, DataLoader with 2 workers": lambda: DataLoader(photos, batch_size=BATCH, num_workers=2),
    }


def measure(setting: Setting, *, images: int) -> Report:
    """Both comparisons on as many files."""
    report = Report("speed_predict", "Images that `predict` classifies a second, against bare batched loops.", setting)
    files = images_below(Path(setting.data))[:images]
    network, model = trained_model(setting)
    photos = Photos(files, model.card.preprocessing)
    for name, batches in rivals(photos).items():
        answers: dict[str, np.ndarray] = {}

        def ours(answers: dict[str, np.ndarray] = answers) -> float:
            started = time.perf_counter()
            answers["ours"] = model.predict(files)
            return time.perf_counter() - started

        def rival(batches: Callable[[], Iterable[Tensor]] = batches, answers: dict[str, np.ndarray] = answers) -> float:
            started = time.perf_counter()
            answers["bare"] = bare(network, batches, model.device)
            return time.perf_counter() - started

        pairs = harness.alternate(ours, rival, setting.pairs)
        apart = float(np.abs(answers["ours"] - answers["bare"]).max())
        faster, target = pairs.faster, at_least(0.9)
        report.table("Images a second", *COLUMNS).add(
            *(name, len(files)),
            harness.spread([len(files) / each for each in pairs.ours]),
            harness.spread([len(files) / each for each in pairs.rival]),
            *(harness.spread(faster), len(faster), target, target.judge(faster)),
        )
        report.notes.append(f"{name}: probabilities differ by {apart:.1g} at most.")
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--images", type=int, default=1000, help="files to classify (%(default)s)")
    arguments = options.parse_args()
    report = measure(harness.setting(arguments), images=BATCH if arguments.quick else arguments.images)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
