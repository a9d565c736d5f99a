"""The model stock of a study's finals: made once, judged on validation images, shipped with its scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from frostline.objectives.networks import TrainedModel, load_network
from frostline.objectives.precision import Precision
from frostline.search.analysis import STOCK, Contender, ModelStock
from frostline.search.execution import model_stock
from frostline.search.execution import run as running
from frostline.search.execution.model_stock import complete_stock
from frostline.search.execution.run import run_search
from frostline.search.export import export_study, load_kept, open_kept
from frostline.search.slots import Resources
from frostline.search.study import Observer, Request, Study, reopen
from frostline.search.study.diagnoses import Diagnoses
from frostline.search.tracking import network_folder
from frostline.storage.workspace import Workspace

from ...noise import in_splits, write_photos

CLASSES = ("blue", "green", "red")
SPACE = {"full": {"epochs": 3, "learning_rate": 0.01, "backbone_lr_ratio": 1.0, "batch_norm": "eval"}}


def make_photos(folder: Path) -> Path:
    counts = in_splits({"train": 8, "val": 10, "test": 10}, CLASSES)
    channels = {name: label for label, name in enumerate(CLASSES)}
    return write_photos(folder, counts, size=(40, 40), top=200, tint=12, channels=channels)


def search(root: Path, space: dict[str, dict[str, object]]) -> Study:
    request = Request(
        *(str(make_photos(root / "photos")), "tiny_network:create", "none", 32),
        **{"trials": 1, "finals_seeds": 2, "candidates": 1, "name": "photos", "space": space},
        **{"device": "cpu", "audit": False, "racing": False},
    )
    return run_search(request, Workspace(root / "workspace"))


@dataclass
class Kept:
    """A study that kept the networks of all seeds and made no stock, and its pretrained weights."""

    study: Study
    root: Path

    @property
    def winner(self) -> Contender:
        verdict = self.study.results().verdict
        assert verdict is not None
        return verdict.winner

    def complete(self, **scores: float) -> ModelStock:
        """Make the stock, as if the single networks had other scores."""
        finals = tuple(replace(final, **scores) for final in self.winner.finals)
        prepared = reopen(self.study, Observer(), trains=False)
        contender, known = replace(self.winner, finals=finals), self.study.diagnoses.stock()
        made = complete_stock(prepared, Resources(device="cpu"), contender, known, Observer())
        assert made is not None
        assert self.study.diagnoses.stock() == made
        return made

    def accuracy(self, model: TrainedModel, split: str) -> float:
        files = [(label, file) for label, name in enumerate(CLASSES) for file in self.files(split, name)]
        found = model.predict([file for _, file in files]).argmax(axis=1)
        return float(np.mean(found == [label for label, _ in files]))

    def files(self, split: str, name: str) -> list[Path]:
        return sorted((self.root / "photos" / split / name).iterdir())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "drop_networks", lambda study: None)
        patch.setattr(running, "complete_stock", lambda *given: None)
        return Kept(search(root, SPACE), root)


def test_it_is_shipped_only_if_it_validates_better(kept: Kept) -> None:
    made = kept.complete(val_score=1.0)
    assert made.final is None
    assert made.val_score is not None
    assert made.seeds == tuple(final.seed for final in kept.winner.finals)
    assert not any("model stock" in warning for warning in kept.study.results().warnings)
    with open_kept(kept.study) as network:
        assert network.final.seed in made.seeds
    assert kept.complete(val_score=0.0) == made, "what is known of the same networks is not made again"


@pytest.fixture
def shipped(kept: Kept) -> Kept:
    """The same study with other seeds on record, so that the stock is made again and shipped."""
    made = kept.study.diagnoses.stock()
    if made is None or made.final is None:
        kept.study.diagnoses.keep_stock(ModelStock("full-9", (1,), None, 0.0))
        assert kept.complete(val_score=0.0).final is not None
    return kept


def test_its_weights_are_those_of_the_formula(shipped: Kept) -> None:
    singles = [
        load_file(network_folder(shipped.study, each) / "network/model.safetensors") for each in shipped.winner.finals
    ]
    model = reopen(shipped.study, Observer(), trains=False).backbones.pretrained.model
    pretrained = {f"backbone.{name}": value.double().numpy() for name, value in model.state_dict().items()}
    with open_kept(shipped.study) as network:
        found = load_file(network.folder / "network/model.safetensors")
    assert found.keys() == singles[0].keys()
    trained = 0
    for name, value in found.items():
        one, other = (each[name].astype(float) for each in singles)
        expected = (one + other) / 2
        if name in pretrained and not np.array_equal(one, other):
            trained += 1
            start = pretrained[name]
            cosine = (
                ((one - start) * (other - start)).sum() / np.linalg.norm(one - start) / np.linalg.norm(other - start)
            )
            ratio = max(0.0, 2 * cosine / (1 + cosine))
            expected = ratio * expected + (1 - ratio) * start
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6, err_msg=name)
    assert trained > 10


def test_its_scores_are_those_of_the_network_that_is_shipped(shipped: Kept, tmp_path: Path) -> None:
    made = shipped.study.diagnoses.stock()
    assert made is not None
    assert made.final is not None
    assert made.final.seed == STOCK
    with open_kept(shipped.study) as network:
        model = load_kept(network, "cpu")
    assert shipped.accuracy(model, "val") == pytest.approx(made.val_score)
    assert shipped.accuracy(model, "test") == pytest.approx(made.final.test_score)
    assert model.card.temperature == pytest.approx(made.final.temperature)
    assert made.sentence() in shipped.study.results().warnings
    exported = export_study(shipped.study, None, tmp_path / "out", pixels=False, note=lambda line: None)
    assert "config.json" in exported.files
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "a model stock of 2 seeds" in card
    assert f"{100 * made.final.test_score:.1f} %; it is the model stock" in card


def test_networks_of_another_precision_are_validated_again_in_that_of_the_stock(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their recorded scores are those of bfloat16: only scores of float32 are compared."""
    before = kept.study.diagnoses.stock()
    monkeypatch.setattr(model_stock, "precision_of", lambda *_: Precision("float32", "bfloat16"))
    singles = []
    for final in kept.winner.finals:
        folder = network_folder(kept.study, final)
        singles.append(kept.accuracy(load_network(folder / "network", "cpu"), "val"))
    try:
        for recorded in (0.0, 1.0):
            kept.study.diagnoses.keep_stock(ModelStock("full-9", (1,), None, 0.0))
            made = kept.complete(val_score=recorded)
            assert made.best_val_score == pytest.approx(max(singles))
            assert made.val_score is not None
            assert (made.final is not None) is (made.val_score > made.best_val_score)
    finally:
        if before is not None:
            kept.study.diagnoses.keep_stock(before)


def test_a_damaged_network_is_a_note(kept: Kept) -> None:
    class Notes(Observer):
        def note(self, message: str) -> None:
            said.append(message)

    said: list[str] = []
    file = network_folder(kept.study, kept.winner.finals[1]) / "network/model.safetensors"
    whole = file.read_bytes()
    before = kept.study.diagnoses.stock()
    kept.study.diagnoses.keep_stock(ModelStock("full-9", (1,), None, 0.0))
    try:
        file.write_bytes(whole[:100])
        prepared = reopen(kept.study, Observer(), trains=False)
        known = kept.study.diagnoses.stock()
        assert complete_stock(prepared, Resources(device="cpu"), kept.winner, known, Notes()) == known
    finally:
        file.write_bytes(whole)
        if before is not None:
            kept.study.diagnoses.keep_stock(before)
    (message,) = said
    assert "no model stock of full-0 could be made" in message
    assert "holds no network that Frostline can load" in message


def test_other_seeds_than_the_winners_do_not_ship_it(shipped: Kept) -> None:
    made = shipped.study.diagnoses.stock()
    assert made is not None
    assert made.is_of(shipped.winner.finals)
    assert not made.is_of(shipped.winner.finals[:1])
    assert not made.is_of([replace(final, strategy="partial") for final in shipped.winner.finals])
    assert ModelStock.from_row(made.to_row()) == made


def test_a_search_makes_it_and_leaves_the_best_network_and_the_stock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: (read.append(name), method(*given))[1]

    monkeypatch.setattr(Diagnoses, "stock", counted("stock", Diagnoses.stock))
    monkeypatch.setattr(Study, "results", counted("results", Study.results))
    study = search(tmp_path, SPACE)
    assert read.count("stock") == read.count("results"), "read with the results alone"
    made, finals = study.diagnoses.stock(), study.results().finals
    assert made is not None
    assert made.val_score is not None
    assert (made.final is not None) is (made.val_score > max(final.val_score for final in finals))
    left = sorted(folder.name for folder in study.workspace.models("photos").iterdir())
    assert len(left) == 1 + (made.final is not None)


@pytest.mark.parametrize(
    "space",
    [
        {"full": {**SPACE["full"], "batch_norm": "train"}},
        {"feature_extraction": {"epochs": 2}},
    ],
)
def test_moved_statistics_and_frozen_networks_have_none(tmp_path: Path, space: dict[str, dict[str, object]]) -> None:
    made = search(tmp_path, space).diagnoses.stock()
    assert made is not None
    assert made.val_score is None
    assert made.final is None
