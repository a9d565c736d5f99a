"""A trained network as files: loaded again, it gives what it gave, from the image files themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from frostline.objectives.config import create_config
from frostline.objectives.data.dataset import prepare_dataset
from frostline.objectives.data.decoding import UndecodableImageError
from frostline.objectives.data.pixel_scale import PixelScale
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import Task, finetune, predict
from frostline.objectives.networks.export import CARD, WEIGHTS, ModelCard, load_network, save_network

from ...noise import in_splits, write_photos
from .. import tiny

CONFIGS = [
    {"strategy": "feature_extraction", "head.hidden_layers": 1, "head.normalization": "batch"},
    {"strategy": "partial", "freeze_depth": 2, "truncate": 1, "head.pooling": "gem"},
    {"strategy": "feature_extraction", "head.depths": 3, "truncate": 1},
    {"strategy": "lp_ft", "head.pooling": "attention", "head.queries": 5},
    {"strategy": "lora", "head.output": "cosine", "head.depths": 2},
    {"strategy": "full", "head.dropout": 0.5, "ema_decay": 0.9},
    {"strategy": "lp_ft", "freeze_depth": 2, "head.depths": 4, "head.init": "probe"},
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, list[Path]]:
    """Photos of odd sizes on disk, decoded as a study does; and the files of the validation images."""
    folder = write_photos(
        tmp_path_factory.mktemp("photos"),
        in_splits({"train": 8, "val": 5, "test": 1}, tiny.CLASSES),
        size=lambda number: (41 + 7 * number, 60),
        top=150,
        tint=60,
        channels={name: label for label, name in enumerate(tiny.CLASSES)},
        name=lambda number: f"{number}.jpg",
    )
    dataset = prepare_dataset(str(folder), tiny.PREPROCESSING, cache_dir=folder.parent / "cache", seed=0)
    train, val = dataset.search_splits()
    assert val.classes == tuple(sorted(tiny.CLASSES))
    files = [folder / "val" / name / f"{number}.jpg" for name in val.classes for number in range(5)]
    base = tiny.task()
    return Task(train, val, base.backbones, "accuracy", base.device, base.store), files


def trained(task: Task, folder: Path, values: dict[str, object]) -> NDArray[np.floating]:
    """Train, save to a folder, and give the validation probabilities as the training has them."""
    config = create_config({"epochs": 2, "batch_size": 8, **values})
    network = finetune(config, task, seed=1).network
    probabilities = predict(network, task.val, task)
    save_network(folder, network, card(task, network.phase.freeze_depth, values))
    return probabilities


def card(task: Task, depth: int, values: dict[str, object]) -> ModelCard:
    config = create_config(values)
    return ModelCard(
        backbone=task.backbones.spec.name,
        pretrained=False,
        truncate=config.truncate,
        freeze_depth=depth,
        head=config.head,
        classes=task.val.classes,
        preprocessing=task.val.preprocessing,
    )


@pytest.mark.parametrize("values", CONFIGS, ids=lambda values: values["strategy"])
def test_image_files_give_the_probabilities_of_the_training(
    task: tuple[Task, list[Path]], tmp_path: Path, values: dict[str, object]
) -> None:
    probabilities = trained(task[0], tmp_path, values)
    state = torch.random.get_rng_state()
    model = load_network(tmp_path, "cpu")
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.abs(model.predict(task[1]) - probabilities).max() < 1e-6
    one = model.predict([task[1][3].read_bytes()])
    assert np.abs(one - probabilities[3]).max() < 1e-5
    assert model.predict([]).shape == (0, 3)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint16, 4095), (np.float32, 1)])
def test_images_of_more_than_8_bits_have_the_scale_of_the_training(tmp_path: Path, dtype: type, white: int) -> None:
    """A dark image alone would have another scale than among the others."""
    draw = np.random.default_rng(0)
    for label, name in enumerate(tiny.CLASSES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            pixels = draw.uniform(0.1, 0.3, size=(41, 60)) + 0.3 * label
            file = tmp_path / "photos" / name / f"{number}.tif"
            Image.fromarray((pixels * white).astype(dtype)).save(file)
    dataset = prepare_dataset(str(tmp_path / "photos"), tiny.PREPROCESSING, cache_dir=tmp_path / "cache", seed=0)
    assert dataset.scale.known().popitem()[1] == white
    base, (train, val) = tiny.task(), dataset.search_splits()
    task = Task(train, val, base.backbones, "accuracy", base.device, base.store)
    config = create_config({"epochs": 2, "batch_size": 8, **CONFIGS[0]})
    network = finetune(config, task, seed=1).network
    expected = predict(network, val, task)
    described = card(task, network.phase.freeze_depth, CONFIGS[0])
    files = [tmp_path / "photos" / dataset.audited().found[row].name for row in val.indices]
    for scale, same in ((dataset.scale, True), (PixelScale(), False)):
        save_network(tmp_path / "kept", network, described.model_copy(update={"scale": scale}))
        served = load_network(tmp_path / "kept", "cpu").predict([file.read_bytes() for file in files])
        assert (np.abs(served - expected).max() < 1e-6) == (same or dtype is np.float32)


def test_a_temperature_divides_the_logits(task: tuple[Task, list[Path]], tmp_path: Path) -> None:
    probabilities = trained(task[0], tmp_path, CONFIGS[0])
    card = json.loads((tmp_path / CARD).read_text())
    assert card["temperature"] == 1.0
    (tmp_path / CARD).write_text(json.dumps({**card, "temperature": 2.5}))
    divided = softmax(np.log(probabilities) / 2.5, axis=1)
    assert np.abs(divided - probabilities).max() > 0.01
    assert np.abs(load_network(tmp_path, "cpu").predict(task[1]) - divided).max() < 1e-6
    # A card of an older version.
    del card["temperature"]
    (tmp_path / CARD).write_text(json.dumps(card))
    assert np.abs(load_network(tmp_path, "cpu").predict(task[1]) - probabilities).max() < 1e-6


def test_what_cannot_be_loaded_says_why(task: tuple[Task, list[Path]], tmp_path: Path) -> None:
    trained(task[0], tmp_path, CONFIGS[0])
    good = json.loads((tmp_path / CARD).read_text())
    for faulty, word in (
        ({**good, "format": 99}, "another version"),
        ({**good, "truncate": 1, "freeze_depth": good["freeze_depth"] - 1}, "does not fit"),
        ({**good, "head": 3}, "no network"),
        ({**good, "temperature": 0}, "no network"),
    ):
        (tmp_path / CARD).write_text(json.dumps(faulty))
        with pytest.raises(InvalidInputError, match=word):
            load_network(tmp_path, "cpu")
    (tmp_path / CARD).write_text(json.dumps(good))
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(InvalidInputError, match="no network"):
        load_network(tmp_path, "cpu")
    with pytest.raises(InvalidInputError, match="no network"):
        load_network(tmp_path / "nowhere", "cpu")


def test_an_image_that_cannot_be_used_is_named_by_its_place(task: tuple[Task, list[Path]], tmp_path: Path) -> None:
    trained(task[0], tmp_path, CONFIGS[0])
    model = load_network(tmp_path, "cpu")
    with pytest.raises(UndecodableImageError, match="image 1 cannot be used: not an image"):
        model.predict([task[1][0], b"no picture"])
