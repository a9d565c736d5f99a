"""A study as it might be: five strategies, 25 trials, three seeds a finalist, and names that try to break pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from frostline.objectives.data.gallery import Gallery
from frostline.search.analysis.data_curve import CurveRecord
from frostline.search.records import FinalRecord, TrialRecord, best_trial
from frostline.search.space.default_space import default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.space.space import Domain, Space, is_integer
from frostline.search.study.results import StudyFacts, StudyResults
from frostline.search.study.settings import StudySettings

STRATEGIES = ("feature_extraction", "partial", "full", "lp_ft", "scratch")
HOSTILE = "<script>alert(1)</script>"
UNITS = ("stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1")
# Score and seconds about which a strategy's trials vary.
_LEVEL = {
    "feature_extraction": (0.86, 6.0),
    "partial": (0.92, 16.0),
    "full": (0.925, 41.0),
    "lp_ft": (0.90, 33.0),
    "scratch": (0.62, 45.0),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium that reaches nothing but this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    # As root, as in containers, Chromium refuses its sandbox; the only pages opened are our own.
    alone = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=alone)
        yield opened
        opened.close()


def make_settings(**changes: Any) -> StudySettings:
    domains = {
        "learning_rate": Domain(low=1e-4, high=1e-2, log=True),
        "head.pooling": Domain(choices=("avg", "max")),
        "optimizer": Domain(choices=("adamw", "sgd")),
        "batch_size": Domain(choices=(32,)),
    }
    deep = domains | {"freeze_depth": Domain(low=0, high=len(UNITS))}
    values: dict[str, Any] = {
        "name": "flowers-resnet18",
        "data": "photos of/flowers",
        "backbone": "resnet18",
        "weights": "IMAGENET1K_V1",
        "image_size": 96,
        "trials": 25,
        "metric": "accuracy",
        "seed": 7,
        "finals_seeds": 3,
        "space": Space(strategies={name: deep if name in ("partial", "lp_ft") else domains for name in STRATEGIES}),
    }
    return StudySettings(**{**values, **changes})


def make_facts() -> StudyFacts:
    return StudyFacts(
        classes=("daisy", "rose & tulip", HOSTILE),
        counts={"train": 420, "val": 90, "test": 90},
        fingerprint="9f86d081884c7d659a2feaa0c55ad015",
        skipped=(("rose & tulip/broken.jpg", "cannot identify image file"),),
        units=UNITS,
        frozen_flops=tuple(np.linspace(0, 1, len(UNITS) + 1).tolist()),
        notes=("conv1.bias was missing from the weights",),
        prepared="Each image is squashed to 224 x 224 px.",
        class_counts={
            "train": {"daisy": 260, "rose & tulip": 80, HOSTILE: 80},
            "val": {"daisy": 30, "rose & tulip": 30, HOSTILE: 30},
            "test": {"daisy": 60, "rose & tulip": 15, HOSTILE: 15},
        },
    )


def make_trial(number: int, rng: np.random.Generator, epochs: int = 12) -> TrialRecord:
    strategy = STRATEGIES[number % len(STRATEGIES)]
    level, seconds = _LEVEL[strategy]
    state = {6: "pruned", 9: "failed", 13: "pruned", 17: "pruned", 22: "failed"}.get(number, "complete")
    ran = 4 if state == "pruned" else epochs
    top = level - abs(rng.normal(0, 0.03))
    curve = {epoch: float(top - 0.5 * np.exp(-epoch / 2.5) + rng.normal(0, 0.006)) for epoch in range(ran)}
    depth = {"feature_extraction": len(UNITS), "partial": int(rng.integers(1, len(UNITS))), "lp_ft": number % 4}
    trial = TrialRecord(
        number=number,
        state=state,
        strategy=strategy,
        config=make_config(strategy, depth.get(strategy, 0), rng),
        score=list(curve.values())[-1] if state == "pruned" else max(curve.values()),
        curve=curve,
        seconds=float(seconds * ran / epochs * rng.uniform(0.7, 1.4)),
        trainable_parameters=513 * (len(UNITS) + 1 - depth.get(strategy, 0)) * 2000,
        freeze_depth=depth.get(strategy, 0),
        finished=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
    )
    if state != "failed":
        return trial
    reason = "training loss is nan in epoch 2: the learning rate may be too high"
    return replace(trial, score=None, curve={0: 0.3, 1: 0.2}, freeze_depth=None, reason=reason)


def make_config(strategy: str, depth: int, rng: np.random.Generator) -> dict[str, Any]:
    config: dict[str, Any] = {
        "strategy": strategy,
        "head.pooling": str(rng.choice(["avg", "max"])),
        "head.hidden_layers": 0,
        "optimizer": str(rng.choice(["adamw", "sgd"])),
        "learning_rate": float(10 ** rng.uniform(-4, -2)),
        "augmentation": "flip_crop",
        "batch_size": 32,
        "epochs": 12,
    }
    if strategy in ("partial", "lp_ft"):
        config["freeze_depth"] = depth
    if strategy in ("partial", "full", "lp_ft"):
        config["backbone_lr_ratio"] = 0.1
    return config


def make_finals(rng: np.random.Generator, strategies: tuple[str, ...] = STRATEGIES) -> tuple[FinalRecord, ...]:
    labels = np.arange(90) % 3
    return tuple(make_final(strategy, seed, labels, rng) for strategy in strategies for seed in range(3))


def make_final(strategy: str, seed: int, labels: Any, rng: np.random.Generator) -> FinalRecord:
    level, seconds = _LEVEL[strategy]
    wrong = rng.random(len(labels)) > level
    probabilities = make_probabilities(np.where(wrong, (labels + 1) % 3, labels), rng)
    return FinalRecord(
        strategy=strategy,
        trial_number=STRATEGIES.index(strategy),
        seed=seed,
        val_score=level,
        test_score=float(1 - np.mean(wrong)),
        seconds=seconds + seed,
        trainable_parameters=1_000_000,
        labels=labels,
        probabilities=probabilities,
        temperature=1.5 + seed / 10,
        device_seconds=2 * seconds,
        latency=0.004 + seed / 1000,
        size=44_800_000,
    )


def make_trainings() -> tuple[CurveRecord, ...]:
    """On an eighth, a quarter and half of the training images, two seeds each: all are worse with fewer."""
    rng, labels = np.random.default_rng(1), np.arange(90) % 3
    trainings = []
    for images, loss in {52: 0.2, 105: 0.1, 210: 0.05}.items():
        for strategy in STRATEGIES:
            cost = loss / 3 if strategy == "feature_extraction" else loss
            for seed in range(2):
                final = make_final(strategy, seed, labels, rng)
                right = (final.predictions == labels) & (rng.random(len(labels)) > cost)
                probabilities = make_probabilities(np.where(right, labels, (labels + 1) % 3), rng)
                changes: dict[str, Any] = {"test_score": float(np.mean(right)), "probabilities": probabilities}
                trainings.append(CurveRecord(images, replace(final, **changes)))
    return tuple(trainings)


def make_probabilities(predictions: Any, rng: np.random.Generator) -> Any:
    """Of three classes, from which these are predicted with a confidence of 50 to 100 %."""
    confidence = rng.uniform(0.5, 1, size=(len(predictions), 1))
    sure = np.eye(3)[predictions]
    return (sure * confidence + (1 - sure) * (1 - confidence) / 2).astype(np.float32)


def of_best(final: FinalRecord, trials: Sequence[TrialRecord]) -> FinalRecord:
    """The same final as one of its strategy's best trial."""
    best = best_trial([trial for trial in trials if trial.strategy == final.strategy])
    return final if best is None else replace(final, trial_number=best.number)


def make_results(finals: bool = True, trials: int = 25) -> StudyResults:
    rng = np.random.default_rng(0)
    known = tuple(make_trial(number, rng) for number in range(trials))
    return StudyResults(
        settings=make_settings(trials=trials),
        facts=make_facts(),
        trials=known,
        finals=tuple(of_best(final, known) for final in make_finals(rng)) if finals else (),
        device="NVIDIA H200",
        versions={"frostline": "0.1.0", "torch": "2.15.0", "optuna": "5.0.0"},
    )


@pytest.fixture(scope="session")
def results() -> StudyResults:
    made = make_results()
    trainings = (replace(each, final=of_best(each.final, made.trials)) for each in make_trainings())
    return replace(made, trainings=tuple(trainings))


@pytest.fixture(scope="session")
def undecided() -> StudyResults:
    """Before the finals."""
    return make_results(finals=False)


@pytest.fixture(scope="session")
def several() -> StudyResults:
    """Enough trials for every part of a report."""
    return make_results(trials=120)


@pytest.fixture(scope="session")
def many() -> StudyResults:
    return make_results(trials=1000)


def draw_config(space: Space, strategy: str, rng: np.random.Generator) -> dict[str, Any]:
    """A configuration of a space, as a sampler without memory draws it."""
    config: dict[str, Any] = {"strategy": strategy}
    for name, domain in space.strategies[strategy].items():
        if any(config.get(other) not in allowed for other, allowed in domain.when.items()):
            continue
        if domain.choices is not None:
            config[name] = domain.choices[rng.integers(len(domain.choices))]
            continue
        low, high = float(domain.low or 0), float(domain.high or 0)
        drawn = np.exp(rng.uniform(np.log(low), np.log(high))) if domain.log else rng.uniform(low, high)
        config[name] = round(drawn) if is_integer(name) else float(drawn)
    return config


@pytest.fixture(scope="session")
def thousand() -> StudyResults:
    """A thousand trials of 40 epochs, over all that is searched by default."""
    rng = np.random.default_rng(0)
    space = resolve_space(create_space(default_tables(150)).only(STRATEGIES), len(UNITS))
    trials = (make_trial(number, rng, epochs=40) for number in range(1000))
    drawn = tuple(replace(trial, config=draw_config(space, str(trial.strategy), rng)) for trial in trials)
    return replace(make_results(trials=1000), trials=drawn, settings=make_settings(trials=1000, space=space))


@pytest.fixture(scope="session")
def gallery(results: StudyResults) -> Gallery:
    """Images of the finals' test split, as hard to compress as any."""
    labels = results.finals[0].labels
    canvas = np.random.default_rng(0).integers(0, 256, (len(labels), 96, 96, 3), dtype=np.uint8)
    names = tuple(f"test/{results.facts.classes[label]}/photo-{place}.jpg" for place, label in enumerate(labels))
    return Gallery(names, canvas, labels, np.arange(len(labels)), np.full((len(labels), 2), 96))
