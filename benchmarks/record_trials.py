"""Record real trials, from which any search policy can be replayed in seconds; recordings.py reads them.

    python benchmarks/record_trials.py --records DIR                # hours on one core; goes on where it stopped
    python benchmarks/record_trials.py --records DIR --share 1/2    # one of two processes
    python benchmarks/record_trials.py --records DIR --list         # how much is there, how long the rest takes
    python benchmarks/record_trials.py --records DIR --pack         # into benchmarks/recordings/trials.parquet
    python benchmarks/record_trials.py --records DIR --unpack       # from there, to go on on another machine

A cell is a dataset, a backbone and a strategy. Its number 0 is the strategy's default configuration; the others are
drawn at random from the default search space. The first configurations of the competing strategies are trained with
further seeds. Trainings are those of a search (`finetune`), never pruned; the test images are predicted after each
epoch, outside of the timed seconds. Number 0 of all cells comes first, then number 1, and so on, so that a recording
that was interrupted is balanced. The first numbers come first, then their further seeds, then the higher numbers; those
of the strategies that do not compete, whose trials take longest, come last.
"""

from __future__ import annotations

import argparse
import dataclasses
import secrets
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import SHARED, machine_facts
from benchmarks.record_files import Planned, open_records, overview, pack, recorded, unpack
from benchmarks.recorder import TimedFeatures, record
from benchmarks.recordings import RECORDING, Cell, RecordedTrial, trial_of
from frostline.objectives.backbones import preprocessing_for
from frostline.objectives.config import BackboneSpec, TrialConfig, create_config
from frostline.objectives.data import ImageSplit, prepare_dataset, take_subset, write_json
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.features import FeatureStore
from frostline.objectives.finetune import Task, check_trainable
from frostline.objectives.networks import BackbonePool
from frostline.search.space import COMPETING, Space, create_space, default_tables, resolve_space

METRIC = "accuracy"
# Budget of the features in memory, bytes; those of the test images have as much again.
FEATURES = 10**9
FOLDERS = ("flowers", "clothing", "garments_small", "blood_cells", "eurosat")
WEIGHTS = {"squeezenet1_1": "squeezenet1_1_imagenet", "shufflenet_v2_x0_5": "shufflenet_v2_x0_5_backbone"}


class Source(NamedTuple):
    """A dataset, and at most how many images of each split are used: a stratified choice."""

    name: str
    data: str
    train: int = 320
    val: int = 100
    test: int = 240


@dataclass(frozen=True)
class Settings:
    """What is recorded.

    Attributes:
        sources: Datasets.
        backbones: Backbones.
        strategies: Names of strategies.
        numbers: Configurations of a cell.
        early_numbers: Those that are recorded before the further seeds.
        seeds: Seeds of those that have several.
        seeded_numbers: First configurations of each competing strategy that have several seeds.
    """

    sources: tuple[Source, ...]
    backbones: tuple[BackboneSpec, ...]
    strategies: tuple[str, ...] = (*COMPETING, "linear_probe_exact", "lora", "norm_bias")
    numbers: int = 16
    early_numbers: int = 4
    seeds: int = 3
    seeded_numbers: int = 4

    def facts(self) -> dict[str, Any]:
        """Plain values that name no file of this machine."""
        return {
            "metric": METRIC,
            "image_size": {spec.name: spec.image_size for spec in self.backbones},
            "limits": {source.name: list(source[2:]) for source in self.sources},
            "strategies": list(self.strategies),
            **{name: getattr(self, name) for name in ("numbers", "seeds", "seeded_numbers")},
        }


def default_settings() -> Settings:
    """Digits, and the datasets and weights below ``FROSTLINE_TEST_DATA``.

    Raises:
        SystemExit: They are not there.
    """
    photos = [Source(name, str(SHARED / "data" / name)) for name in FOLDERS]
    specs = [BackboneSpec(name, str(SHARED / f"weights/{file}.safetensors"), 64) for name, file in WEIGHTS.items()]
    paths = [*(source.data for source in photos), *(spec.weights for spec in specs)]
    if missing := [path for path in paths if not Path(path).exists()]:
        raise SystemExit(
            f"Not found: {', '.join(missing)}. Set FROSTLINE_TEST_DATA to the folder that holds data/ and weights/."
        )
    return Settings((Source("digits", "sklearn:digits"), *photos), tuple(specs))


class Bench:
    """What the trials of a process share: images, networks, spaces, features.

    Args:
        settings: What is recorded.
        folder: Folder of the records, in which images are decoded.

    Attributes:
        tracing_seconds: Seconds to create, trace and load each backbone, which a search pays once a process.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.tracing_seconds: dict[str, float] = {}
        self._pools = {spec.name: self._traced(spec) for spec in settings.backbones}
        self._splits: dict[tuple[str, str], tuple[ImageSplit, ...]] = {}
        self._spaces: dict[tuple[str, str], Space] = {}
        self._store, self._test_store = TimedFeatures(FEATURES), FeatureStore(FEATURES)

    def _traced(self, spec: BackboneSpec) -> BackbonePool:
        started = time.perf_counter()
        pool = BackbonePool(spec)
        self.tracing_seconds[spec.name] = time.perf_counter() - started
        return pool

    def planned(self) -> list[Planned]:
        """All trials in the order of recording, without strategies that find nothing to train on a backbone."""
        pairs = [pair for pair in product(self._pools, self.settings.strategies) if self._trains(*pair)]
        cells = [(source.name, *pair) for source in self.settings.sources for pair in pairs]
        competing = [cell for cell in cells if cell[2] in COMPETING]
        others = [cell for cell in cells if cell[2] not in COMPETING]
        plan = self.settings
        early, late = range(plan.early_numbers), range(plan.early_numbers, plan.numbers)
        return [
            *_trials(cells, early, [0]),
            *_trials(competing, range(plan.seeded_numbers), range(1, plan.seeds)),
            *_trials(competing, late, [0]),
            *_trials(others, late, [0]),
        ]

    def _trains(self, backbone: str, strategy: str) -> bool:
        """Whether a strategy finds something to train on a backbone; says so if not."""
        pool = self._pools[backbone]
        space = resolve_space(create_space(default_tables()).only([strategy]), len(pool.pretrained.units))
        try:
            check_trainable(create_config(space.default(strategy)), pool)
        except InvalidInputError as error:
            print(f"left out {strategy} on {backbone}: {error}")
            return False
        return True

    def splits(self, dataset: str, backbone: str) -> tuple[ImageSplit, ...]:
        """Training, validation and test images, at most as many as the settings say."""
        if (dataset, backbone) not in self._splits:
            source = next(source for source in self.settings.sources if source.name == dataset)
            spec = self._pools[backbone].spec
            preprocessing = preprocessing_for(spec.name, spec.weights, spec.image_size)
            images = prepare_dataset(source.data, preprocessing, cache_dir=self.folder / "images", seed=0)
            whole = (*images.search_splits(), images.open_test())
            splits = tuple(limited(split, size) for split, size in zip(whole, source[2:], strict=True))
            write_json(self.folder / "datasets" / f"{dataset}.json", _described(splits))
            self._splits[dataset, backbone] = splits
        return self._splits[dataset, backbone]

    def config(self, planned: Planned) -> TrialConfig:
        """The default configuration, or the one that cell and number draw at random."""
        space, strategy = self._space(planned.dataset, planned.backbone), planned.strategy
        if planned.number == 0:
            return create_config(space.default(strategy))
        seed = zlib.crc32("/".join((*planned.cell, str(planned.number))).encode())
        return space.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask(), strategy)

    def _space(self, dataset: str, backbone: str) -> Space:
        """The space of a search on as many training images."""
        if (dataset, backbone) not in self._spaces:
            tables = default_tables(len(self.splits(dataset, backbone)[0]))
            space = create_space(tables).only(self.settings.strategies)
            self._spaces[dataset, backbone] = resolve_space(space, len(self._pools[backbone].pretrained.units))
        return self._spaces[dataset, backbone]

    def record(self, planned: Planned, session: str) -> RecordedTrial:
        """Train a configuration and record it."""
        train, val, test = self.splits(planned.dataset, planned.backbone)
        task = Task(train, val, self._pools[planned.backbone], METRIC, torch.device("cpu"), self._store)
        found = record(self.config(planned), task, test, self._test_store, seed=planned.seed)
        return trial_of({**planned._asdict(), "session": session, **found})


def _trials(cells: Sequence[Cell], numbers: Iterable[int], seeds: Iterable[int]) -> list[Planned]:
    return [Planned(*cell, number, seed) for number, seed, cell in product(numbers, seeds, cells)]


def limited(split: ImageSplit, size: int) -> ImageSplit:
    """A split of a stratified choice of at most so many of its images; views and features are those of the choice."""
    subset = take_subset(split, min(size, len(split)), seed=0)
    return ImageSplit(**{field.name: getattr(subset, field.name) for field in dataclasses.fields(ImageSplit)})


def _described(splits: Sequence[ImageSplit]) -> dict[str, Any]:
    train, val, test = splits
    return {
        "classes": list(train.classes),
        "train": np.bincount(train.labels, minlength=len(train.classes)).tolist(),
        "val": val.labels.tolist(),
        "test": test.labels.tolist(),
    }


def record_missing(bench: Bench, planned: Sequence[Planned]) -> None:
    """Record the trials that the folder does not hold yet; each is written as a whole when it ends."""
    session = secrets.token_hex(4)
    write_json(
        bench.folder / "sessions" / f"{session}.json", {**machine_facts(), "tracing_seconds": bench.tracing_seconds}
    )
    for place, each in enumerate(planned, start=1):
        file = each.file(bench.folder)
        if file.exists():
            continue
        trial = bench.record(each, session)
        write_json(file, trial.row())
        told = f"{trial.score:.3f}, {len(trial.seconds)} epochs" if trial.complete else trial.state
        name = f"{' '.join(each.cell)} {each.number} seed {each.seed}"
        print(f"{place:5}/{len(planned)}  {name}: {told}, {trial.wall_seconds:.1f} s", flush=True)


def _share(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write 1/2 and 2/2 for two processes")
    return int(number), int(of)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=Path, required=True, help="folder of the records, a file a trial")
    options.add_argument("--share", type=_share, default=(1, 1), metavar="I/N", help="the I-th of N processes")
    options.add_argument("--first", type=int, help="at most so many of the plan's trials")
    action = options.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="what is there and what is left")
    action.add_argument("--pack", nargs="?", type=Path, const=RECORDING, metavar="FILE", help="write one file")
    action.add_argument("--unpack", nargs="?", type=Path, const=RECORDING, metavar="FILE", help="go on from one file")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings, folder = default_settings(), arguments.records.resolve()
    open_records(settings.facts(), folder)
    bench = Bench(settings, folder)
    planned = bench.planned()
    if arguments.pack:
        pack(settings.facts(), folder, recorded(folder, planned), arguments.pack)
    elif arguments.unpack:
        unpack(planned, folder, arguments.unpack)
    elif arguments.list:
        print("\n".join(overview(planned, recorded(folder, planned))))
    else:
        number, of = arguments.share
        record_missing(bench, planned[: arguments.first][number - 1 :: of])


if __name__ == "__main__":
    main()
