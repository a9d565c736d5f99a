"""What the speed benchmarks share: their options, alternating runs, ratios with their spread, tables that are kept."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torchvision

from frostline.objectives.backbones import preprocessing_for
from frostline.objectives.config import BackboneSpec
from frostline.objectives.data import ImageDataset, ImageSplit, prepare_dataset
from frostline.objectives.devices import choose_device, feature_budget, usual_precision
from frostline.objectives.features.feature_source import FeatureStore
from frostline.objectives.finetune import Task
from frostline.objectives.networks import BackbonePool
from frostline.objectives.precision import Precision
from frostline.search.study import Request
from frostline.search.study.fingerprints import sources_digest
from frostline.search.tracking.provenance import git_tags

RESULTS = Path(__file__).with_name("results")
SHARED = Path(os.environ.get("FROSTLINE_TEST_DATA", "../shared"))


@dataclass(frozen=True)
class Setting:
    """What a benchmark measures on.

    Attributes:
        data: Folder of class folders.
        backbone: Name.
        weights: A file, or ``none``.
        image_size: Pixels.
        threads: Of torch; 0 leaves them as they are.
        device: Name.
        pairs: How often both sides run, alternately.
        quick: Smallest sizes: whether it runs, not how fast.
    """

    data: str = str(SHARED / "data/flowers")
    backbone: str = "mobilenet_v2"
    weights: str = str(SHARED / "weights/mobilenet_v2_imagenet.safetensors")
    image_size: int = 96
    threads: int = 0
    device: str = "cpu"
    pairs: int = 3
    quick: bool = False

    @property
    def spec(self) -> BackboneSpec:
        return BackboneSpec(self.backbone, self.weights, self.image_size)

    def elsewhere(self, dataset: str, backbone: str, weights: str, image_size: int) -> Setting:
        """The same on a shared dataset, with a network and its shared weights."""
        files = {"data": SHARED / "data" / dataset, "weights": SHARED / f"weights/{weights}.safetensors"}
        paths = {name: str(file) for name, file in files.items()}
        return replace(self, backbone=backbone, image_size=image_size, **paths)

    def request(self, **more: object) -> Request:
        """A search on this."""
        own = {name: getattr(self, name) for name in ("data", "backbone", "weights", "image_size", "device")}
        return Request(**{**own, **more})  # pyright: ignore[reportArgumentType]

    def dataset(self, cache: Path, seed: int = 0) -> ImageDataset:
        """The images, decoded into a folder and divided as a search of this seed divides them."""
        preprocessing = preprocessing_for(self.backbone, self.weights, self.image_size)
        return prepare_dataset(self.data, preprocessing, cache_dir=cache, seed=seed)

    def task(self, dataset: ImageDataset) -> Task:
        """What trials of a study on this share, with an empty feature store."""
        device = choose_device(self.device)
        train, val = dataset.search_splits()
        return create_task(train, val, BackbonePool(self.spec), device)


def create_task(train: ImageSplit, val: ImageSplit, backbones: BackbonePool, device: torch.device) -> Task:
    """A task with an empty feature store, in the precision that needs no measurement: the rival's."""
    precision = Precision.both(usual_precision(device))
    store = FeatureStore(feature_budget(device))
    return Task(train, val, backbones, "accuracy", device, store, precision=precision)


def parser(document: str | None) -> argparse.ArgumentParser:
    """Options that all benchmarks have; `setting` reads them."""
    standard = Setting()
    options = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default=standard.data, help="folder of class folders (%(default)s)")
    options.add_argument("--backbone", default=standard.backbone)
    options.add_argument("--weights", default=standard.weights, help="a file, or none (%(default)s)")
    options.add_argument("--image-size", type=int, default=standard.image_size)
    options.add_argument("--threads", type=int, default=standard.threads, help="of torch; 0: as it comes")
    options.add_argument("--device", default=standard.device)
    options.add_argument("--pairs", type=int, default=standard.pairs, help="alternating runs (%(default)s)")
    options.add_argument("--quick", action="store_true", help="smallest sizes: does it run")
    options.add_argument(
        "--keep", nargs="?", const="", metavar="NAME", help="write the table to benchmarks/results/, under another name"
    )
    return options


def setting(arguments: argparse.Namespace) -> Setting:
    """The setting that was asked for; sets torch's threads."""
    chosen = Setting(**{name: getattr(arguments, name) for name in Setting.__dataclass_fields__})
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    missing = [path for path in (chosen.data, chosen.weights) if path not in ("none",) and not Path(path).exists()]
    if missing:
        raise SystemExit(
            f"Not found: {', '.join(missing)}. Name others with --data and --weights (none: random ones), "
            "or set FROSTLINE_TEST_DATA to the folder that holds data/ and weights/."
        )
    return chosen


def clean_environment() -> dict[str, str]:
    """The environment of a process that chooses itself how threads wait: importing Frostline set it in this one."""
    return {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}


def synchronize(device: torch.device) -> None:
    """Wait for what was started on a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device | None = None) -> float:
    """Wall time of a call, with what it started on the device."""
    started = time.perf_counter()
    work()
    synchronize(device or torch.device("cpu"))
    return time.perf_counter() - started


@dataclass(frozen=True)
class Pairs:
    """Two sides, measured alternately.

    Attributes:
        ours: Seconds of each of our runs.
        rival: Of the other's, in the same order.
    """

    ours: tuple[float, ...]
    rival: tuple[float, ...]

    @property
    def faster(self) -> tuple[float, ...]:
        """How many times faster we are, pair by pair."""
        return tuple(rival / ours for ours, rival in zip(self.ours, self.rival, strict=True))

    @property
    def slower(self) -> tuple[float, ...]:
        """How many times the other's time we take, pair by pair."""
        return tuple(ours / rival for ours, rival in zip(self.ours, self.rival, strict=True))


def alternate(ours: Callable[[], float], rival: Callable[[], float], pairs: int) -> Pairs:
    """Measure ours, rival, ours, rival, ...: what else the machine does then hits both.

    Args:
        ours: Runs once and gives its seconds.
        rival: Likewise.
        pairs: How often.
    """
    measured = [(ours(), rival()) for _ in range(pairs)]
    return Pairs(*(tuple(side) for side in zip(*measured, strict=True)))


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, and in brackets lowest and highest."""
    numbers = [f"{value:.{digits}g}" for value in (statistics.median(values), min(values), max(values))]
    return numbers[0] if len(values) == 1 else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"


def mean(values: Sequence[float]) -> str:
    """Mean and standard deviation of scores."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


@dataclass(frozen=True)
class Target:
    """What a ratio shall be; at least, or at most."""

    bound: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"

    def judge(self, values: Sequence[float]) -> str:
        median = statistics.median(values)
        return "yes" if (median >= self.bound if self.at_least else median <= self.bound) else "NO"


def at_least(bound: float) -> Target:
    return Target(bound, True)


def at_most(bound: float) -> Target:
    return Target(bound, False)


@dataclass
class Table:
    """A table of a report."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        assert len(cells) == len(self.columns)
        self.rows.append(tuple(map(str, cells)))

    def lines(self) -> list[str]:
        """As aligned Markdown."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        rule = tuple("-" * width for width in widths)
        return [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in (self.columns, rule, *self.rows)
        ]


@dataclass
class Report:
    """What a benchmark found.

    Attributes:
        name: Of the file it is kept in.
        claim: What is measured.
        setting: On what.
        tables: By heading.
        notes: What a reader must know to judge the numbers.
    """

    name: str
    claim: str
    setting: Setting
    tables: dict[str, Table] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def table(self, heading: str, *columns: str) -> Table:
        return self.tables.setdefault(heading, Table(columns))

    def markdown(self) -> str:
        lines = [f"# {self.name}", "", self.claim, "", *machine_lines(self.setting), ""]
        for heading, table in self.tables.items():
            lines += [f"## {heading}", "", *table.lines(), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)]) + "\n"


def machine_lines(setting: Setting) -> list[str]:
    """Where, when, with what and by which command."""
    device = torch.cuda.get_device_name() if setting.device.startswith("cuda") else platform.machine()
    command = shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    data = f"{Path(setting.data).name}, {setting.backbone}, {Path(setting.weights).name}, {setting.image_size} px"
    return [
        f"`{command}`, {datetime.date.today()}{', --quick: the numbers mean nothing' if setting.quick else ''}",
        "",
        f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {load}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}; {data}",
    ]


def machine_facts() -> dict[str, Any]:
    """Where, when, with what and by which code, as plain values."""
    tags = git_tags(Path(__file__).parent)
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("frostline", "torch", "torchvision", "numpy", "optuna")},
        "commit": tags.get("mlflow.source.git.commit", "")
        + (" with changes" if "frostline.uncommitted_changes" in tags else ""),
        "training_sources": sources_digest(),
    }


def finish(report: Report, arguments: argparse.Namespace) -> None:
    """Print a report, and keep it if asked to."""
    print(report.markdown())
    if arguments.keep is not None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{arguments.keep or report.name}.md"
        path.write_text(report.markdown(), encoding="utf-8")
        print(f"kept in {os.path.relpath(path)}")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for a workspace, gone afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)
