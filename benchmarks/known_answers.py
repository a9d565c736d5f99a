"""Does the search find the winner where it is known? Five pairs of source and target, each built for one winner.

    python benchmarks/known_answers.py                  # all pairs, seeds 0-4: under 15 minutes on two cores
    python benchmarks/known_answers.py corrupted --seeds 1

For each seed a small network learns the source, then a whole search runs on the target: trials, finals, verdict.

relabeled: shapes -> the same shapes in groups. ``feature_extraction``: only the names are new, the rest only costs.
corrupted: shapes -> channels mixed and inverted. ``surgical`` on the first unit: that layer alone can undo it.
reshaped: textures -> shapes, both behind a veil of strong colors. ``full``: the source taught the first unit to lift
    the veil, which the target's few images do not teach (``scratch`` gets half its score, with three times the epochs
    too), but the units above know textures only, and to train the last two does not make up for it. ``partial`` may
    train no more than these: with the first unit alone frozen it would do what ``full`` does.
unrelated: noise with random labels -> shapes. ``scratch`` wins or ties: there is nothing to transfer.
faded: shapes -> low contrast. ``full`` with batch norms in training mode: the source's statistics are wrong.
"""

from __future__ import annotations

import argparse
import functools
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from frostline.search.execution import run_search
from frostline.search.records import best_trial
from frostline.search.study import Request, Study
from frostline.storage.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import small_cnn
from benchmarks.procedural import Images, Labels, faded, noise, papered, recolored, regrouped, shaped, veiled

Data = tuple[Images, Labels]
Draw = Callable[[int, np.random.Generator], Data]
BACKBONE = "benchmarks.small_cnn:create"
MEAN, STD = 0.5, 0.25
SEEDS = 5
SOURCE_IMAGES, SOURCE_EPOCHS = 3000, 12

_SHARED = """
[shared]
optimizer = "adamw"
weight_decay = 1e-4
warmup = 0.1
epochs = {epochs}
patience = {epochs}
batch_size = 32
learning_rate = {{ low = 2e-3, high = 2e-2, log = true, default = 5e-3 }}
"""
_RATIO = "backbone_lr_ratio = { low = 0.1, high = 1.0, log = true, default = 0.3 }"

_HIGH_RATIO = "backbone_lr_ratio = { low = 0.3, high = 2.0, log = true, default = 1.0 }"


@dataclass(frozen=True)
class Pair:
    """A source, a target and the answer.

    Attributes:
        source: Draws what the network learns first, from a count and a generator.
        target: Draws what the search is run on.
        train: Training images of the target.
        trials: Of the search.
        epochs: Of a trial.
        strategies: Tables of the space file.
        correct: Whether a study's verdict is the known answer.
        test: Test images of the target.
    """

    source: Draw
    target: Draw
    train: int
    trials: int
    epochs: int
    strategies: str
    correct: Callable[[Study], bool]
    test: int = 300


def _wins(study: Study, strategy: str) -> bool:
    verdict = study.results().verdict
    return verdict is not None and verdict.winner.strategy == strategy


def _first_unit_wins(study: Study) -> bool:
    trial = best_trial([trial for trial in study.trials() if trial.strategy == "surgical"])
    return _wins(study, "surgical") and trial is not None and trial.config["freeze_depth"] == 0


def _scratch_ties_or_wins(study: Study) -> bool:
    verdict = study.results().verdict
    assert verdict is not None
    return any(contender.strategy == "scratch" and contender.tied for contender in verdict.contenders)


def _training_mode_wins(study: Study) -> bool:
    """The best of each mode apart by more than a fifth, and the winner in training mode."""
    scores = {
        mode: max(
            (trial.score or 0.0 for trial in study.trials() if trial.config.get("batch_norm") == mode), default=0.0
        )
        for mode in ("train", "eval")
    }
    return _wins(study, "full") and scores["train"] - scores["eval"] > 0.2


PAIRS = {
    "relabeled": Pair(
        shaped,
        lambda count, rng: regrouped(shaped(count, rng)),
        train=120,
        trials=12,
        epochs=15,
        strategies=f"[feature_extraction]\n[partial]\nfreeze_depth = 3\n{_RATIO}\n[full]\n{_RATIO}\n[scratch]\n",
        correct=lambda study: _wins(study, "feature_extraction"),
    ),
    "corrupted": Pair(
        shaped,
        lambda count, rng: recolored(shaped(count, rng)),
        train=120,
        trials=15,
        epochs=20,
        strategies="[feature_extraction]\n"
        f"[surgical]\nfreeze_depth = {{ low = 0, high = -1, default = 0 }}\ntrained_units = 1\n{_RATIO}\n"
        f"[full]\n{_RATIO}\n",
        correct=_first_unit_wins,
    ),
    # Source pictures are filled by their texture: no unit ever sees the edge of a shape.
    "reshaped": Pair(
        lambda count, rng: veiled(papered(count, rng), rng),
        lambda count, rng: veiled(shaped(count, rng), rng),
        train=800,
        trials=12,
        epochs=8,
        strategies=f"[feature_extraction]\n[partial]\nfreeze_depth = {{ low = -2, high = -1 }}\n{_HIGH_RATIO}\n"
        f"[full]\n{_HIGH_RATIO}\n[scratch]\n",
        correct=lambda study: _wins(study, "full"),
        test=600,
    ),
    "unrelated": Pair(
        noise,
        shaped,
        train=300,
        trials=12,
        epochs=15,
        strategies=f"[feature_extraction]\n[partial]\nfreeze_depth = 3\n{_RATIO}\n[full]\n{_RATIO}\n[scratch]\n",
        correct=_scratch_ties_or_wins,
    ),
    "faded": Pair(
        shaped,
        lambda count, rng: faded(shaped(count, rng)),
        train=120,
        trials=12,
        epochs=15,
        strategies=f'[feature_extraction]\n[full]\nbatch_norm = {{ choices = ["eval", "train"] }}\n{_RATIO}\n',
        correct=_training_mode_wins,
    ),
}


@dataclass(frozen=True)
class Outcome:
    """One search on one pair.

    Attributes:
        correct: Whether it found the answer.
        sentence: Its verdict.
        source_accuracy: Of the network on unseen source images.
        seconds: Source training and search.
    """

    correct: bool
    sentence: str
    source_accuracy: float
    seconds: float


@functools.cache
def learn(source: Draw, seed: int) -> tuple[nn.Module, float]:
    """A small network trained on a source, and its accuracy on images that it has not seen."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = small_cnn.create()
    images, labels = _tensors(source(SOURCE_IMAGES, rng))
    batches = len(images) // 64
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=SOURCE_EPOCHS * batches)
    for _ in range(SOURCE_EPOCHS):
        for batch in torch.randperm(len(images))[: batches * 64].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return network.eval(), accuracy(network, source(300, rng))


@torch.no_grad()
def accuracy(network: nn.Module, data: Data) -> float:
    """Share of images that a network classifies rightly."""
    images, labels = _tensors(data)
    return float((network(images).argmax(dim=1) == labels).float().mean())


def _tensors(data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = data
    return (torch.from_numpy(images).permute(0, 3, 1, 2).contiguous() - MEAN) / STD, torch.from_numpy(labels)


def write_images(data: Data, folder: Path) -> None:
    """A folder of class folders."""
    for place, (image, label) in enumerate(zip(*data, strict=True)):
        path = folder / f"class {label}" / f"{place:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255).astype(np.uint8)).save(path)


def run(pair: Pair, seed: int, folder: Path) -> Outcome:
    """Learn the source, search the target, compare with the answer."""
    started = time.perf_counter()
    rng = np.random.default_rng([1, seed])
    network, source_accuracy = learn(pair.source, seed)
    weights = folder / "source.safetensors"
    save_file(network.state_dict(), weights)
    for split, count in (("train", pair.train), ("val", 150), ("test", pair.test)):
        write_images(pair.target(count, rng), folder / "target" / split)
    space = folder / "space.toml"
    space.write_text(_SHARED.format(epochs=pair.epochs) + pair.strategies)
    request = Request(
        data=str(folder / "target"),
        backbone=BACKBONE,
        weights=str(weights),
        image_size=32,
        trials=pair.trials,
        space=space,
        seed=seed,
        finals_seeds=3,
        name="known-answer",
    )
    study = run_search(request, Workspace(folder / "workspace"))
    verdict = study.results().verdict
    assert verdict is not None
    seconds = time.perf_counter() - started
    return Outcome(pair.correct(study), verdict.sentence(), source_accuracy, seconds)


def _outcomes(names: list[str], seeds: range) -> Iterator[tuple[str, int, Outcome]]:
    for name in names:
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                yield name, seed, run(PAIRS[name], seed, Path(folder))


def main() -> int:
    """Print a line a search and a table; 0 if every answer was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", help=f"of {', '.join(PAIRS)}; all by default")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many; default: %(default)s")
    parser.add_argument("--first-seed", type=int, default=0, help="others than the pairs were built with, for a check")
    arguments = parser.parse_args()
    names = arguments.pairs or list(PAIRS)
    unknown = [name for name in names if name not in PAIRS]
    if unknown:
        parser.error(f"no pair {', '.join(unknown)}; valid: {', '.join(PAIRS)}")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    results: dict[str, list[Outcome]] = {name: [] for name in names}
    for name, seed, outcome in _outcomes(names, seeds):
        results[name].append(outcome)
        mark = "right" if outcome.correct else "WRONG"
        print(f"{name:<11} seed {seed}  {mark}  {outcome.seconds:5.1f} s  {outcome.sentence}", flush=True)
    print(f"\n{'pair':<11} right  source accuracy  seconds a search")
    for name, outcomes in results.items():
        right = sum(outcome.correct for outcome in outcomes)
        source = np.mean([outcome.source_accuracy for outcome in outcomes])
        seconds = np.array([outcome.seconds for outcome in outcomes])
        print(
            f"{name:<11} {right}/{len(outcomes)}    {source:6.1%}           {seconds.mean():.1f} ± {seconds.std():.1f}"
        )
    print(f"\n{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    return 0 if all(outcome.correct for outcomes in results.values() for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
