"""Whole searches on images of 5 channels: what every way out says and computes is what the files hold."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from scipy.special import softmax
from timm.models import adapt_input_conv
from torchvision.transforms import v2

from frostline.dashboards.report.thumbnails import ThumbnailMaker
from frostline.objectives.backbones import create_backbone
from frostline.objectives.config import BackboneSpec
from frostline.objectives.data import find_gallery
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks import load_network, read_card, read_weights
from frostline.search.execution.run import run_search
from frostline.search.export.folder import export_study
from frostline.search.export.trial_script import write_script
from frostline.search.records import FinalRecord
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.search.tracking.load_check import load_faults
from frostline.storage.workspace import Workspace

tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")

CLASSES = ("barley", "wheat")
CHANNELS = 5
SPACE = """
[feature_extraction]
epochs = 2
learning_rate = 0.003
augmentation = "flip_crop"

[full]
epochs = 2
learning_rate = 0.003
augmentation = "resized_crop"
mixing = "cutmix"

[scratch]
epochs = 2
learning_rate = 0.003
"""
# White of each channel: the bands differ in range.
WHITES = np.array([1023, 1023, 4095, 16383, 1023])
REPEATED = "for 5 channels: its pretrained weights for 3, repeated and multiplied by 3/5"


@dataclass(frozen=True)
class Finished:
    """A study that ran to its verdict."""

    study: Study
    data: Path

    @property
    def test_files(self) -> list[Path]:
        return [file for name in CLASSES for file in sorted((self.data / "test" / name).iterdir())]

    def chosen(self, strategy: str) -> FinalRecord:
        (final,) = [final for final in self.study.results().finals if final.strategy == strategy]
        return final

    def calibrated(self, strategy: str) -> np.ndarray:
        final = self.chosen(strategy)
        assert final.temperature is not None
        return softmax(np.log(final.probabilities.astype(float)) / final.temperature, axis=1)


def write_fields(root: Path) -> Path:
    """Photos of fields whose classes differ in the fourth channel alone; the last training image is an array."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 4), ("test", 5)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                planes = rng.integers(0, 900, (CHANNELS, 40, 44 + number)) * (WHITES[:, None, None] + 1) // 1024
                planes[3] = planes[3] // 2 + 6000 * label
                planes[:, 0, 0] = WHITES * 0.95
                if (split, number) == ("train", 6):
                    np.save(folder / f"{number}.npy", planes.astype(np.uint16))
                else:
                    tifffile.imwrite(folder / f"{number}.tif", planes.astype(np.uint16), compression="zlib")
    return root


def request(data: Path, root: Path, **changed: Any) -> Request:
    given: dict[str, Any] = {"trials": 3, "finals_seeds": 1, "racing": False, "candidates": 1, "device": "cpu"}
    (root / "space.toml").write_text(SPACE)
    return Request.create(
        str(data),
        backbone="tiny_network:create",
        image_size=32,
        name="fields",
        space=root / "space.toml",
        **{**given, "channels": CHANNELS, **changed},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_records: None) -> Finished:
    root = tmp_path_factory.mktemp("channels")
    data = write_fields(root / "fields")
    return Finished(run_search(request(data, root), Workspace(root / "workspace")), data)


@pytest.fixture(scope="module")
def folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("exported") / "full"
    done = export_study(finished.study, "full", to, note=lambda line: None)
    assert (done.not_written, done.incomplete) == ({}, False)
    return to


def crops(finished: Finished, folder: Path) -> np.ndarray:
    """Test images by tifffile, NumPy and torchvision's own transforms of each channel, uint8 (N, S, S, 5)."""
    given = json.loads((folder / "config.json").read_text())["preprocessing"]
    steps = v2.Compose([v2.Resize(given["resize_size"]), v2.CenterCrop(given["image_size"])])

    def crop(file: Path) -> np.ndarray:
        values = np.round(tifffile.imread(file) * (255 / WHITES[:, None, None])).astype(np.uint8)
        return np.stack([np.asarray(steps(Image.fromarray(plane))) for plane in values], axis=2)

    return np.stack(list(map(crop, finished.test_files)))


def inputs(finished: Finished, folder: Path) -> np.ndarray:
    given = json.loads((folder / "config.json").read_text())["preprocessing"]
    assert given["mean"] == pytest.approx([0.485, 0.456, 0.406, 0.485, 0.456])
    assert given["std"] == pytest.approx([0.229, 0.224, 0.225, 0.229, 0.224])
    scaled = crops(finished, folder).astype(np.float32) / 255
    normalized = (scaled - np.float32(given["mean"])) / np.float32(given["std"])
    return np.ascontiguousarray(normalized.transpose(0, 3, 1, 2))


def test_the_certificates_state_the_first_layer(finished: Finished) -> None:
    files = sorted(finished.study.workspace.root.rglob("certificate.json"))
    stated = {phase["first_layer"] for file in files for phase in json.loads(file.read_text())}
    assert len(files) == 6, "of three trials and three finals"
    assert stated == {REPEATED, "for 5 channels: drawn at random"}
    assert all(phase["passed"] for file in files for phase in json.loads(file.read_text()))
    assert f"the first layer is {REPEATED}" in finished.study.facts.notes
    assert finished.study.facts.first_layer == REPEATED
    assert finished.study.facts.prepared.startswith("Each image, of 5 channels, is resized")
    whites = "of integers, 1023, 1023, 4095, 16383, 1023 become white, channel by channel"
    assert any(whites in note for note in finished.study.facts.data_notes)


def test_the_first_layer_of_the_network_that_froze_it_is_that_of_the_rule(finished: Finished) -> None:
    color = create_backbone(BackboneSpec("tiny_network:create", "DEFAULT", 32)).model.state_dict()["stem.0.weight"]
    final = finished.chosen("feature_extraction")
    (kept,) = (finished.study.workspace.root / "models").rglob(f"*feature_extraction*{final.seed}*/network")
    assert torch.equal(read_weights(kept)["backbone.stem.0.weight"], adapt_input_conv(CHANNELS, color))


def test_onnx_and_torch_export_give_the_recorded_probabilities(finished: Finished, folder: Path) -> None:
    given, expected = inputs(finished, folder), finished.calibrated("full")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (logits,) = session.run(None, {"images": given})
    assert np.abs(softmax(np.asarray(logits), axis=1) - expected).max() < 1e-4
    program = torch.export.load(folder / "model.pt2").module()
    with torch.no_grad():
        found = program(torch.from_numpy(given)).softmax(dim=1).numpy()
    assert np.abs(found - expected).max() < 1e-4
    card = (folder / "README.md").read_text()
    assert "normalized images: float32 (N, 5, 32, 32)" in card
    assert "Input: 5 channels, 8 bits each" in card
    assert "for TIFF files tifffile and imagecodecs" in card
    assert f"The first layer is {REPEATED}." in card


@pytest.mark.slow  # Graphs of pixels are quick in color, and all else of an export here.
def test_graphs_of_pixels_take_all_channels(finished: Finished, folder: Path, tmp_path: Path) -> None:
    export_study(finished.study, "full", tmp_path / "pixels", pixels=True, note=lambda line: None)
    session = onnxruntime.InferenceSession(tmp_path / "pixels" / "model.onnx")
    (logits,) = session.run(None, {"pixels": crops(finished, folder)})
    assert np.abs(softmax(np.asarray(logits), axis=1) - finished.calibrated("full")).max() < 1e-4


def test_files_bytes_and_arrays_are_predicted_alike(finished: Finished, folder: Path, tmp_path: Path) -> None:
    model, expected = load_network(folder, "cpu"), finished.calibrated("full")
    values = [tifffile.imread(file) for file in finished.test_files]
    for number, planes in enumerate(values):
        np.save(tmp_path / f"{number}.npy", np.moveaxis(planes, 0, 2))
    arrays = [tmp_path / f"{number}.npy" for number in range(len(values))]
    for given in (finished.test_files, arrays, values, [file.read_bytes() for file in finished.test_files]):
        assert np.abs(model.predict(given) - expected).max() < 1e-4
    photo = io.BytesIO()
    Image.new("RGB", (40, 40)).save(photo, "JPEG")
    with pytest.raises(InvalidInputError, match="image 1 cannot be used: has 3 channels, not 5: take it out, or"):
        model.predict([values[0], photo.getvalue()])


def test_the_served_model_reads_the_same_files(finished: Finished) -> None:
    client = MlflowClient(finished.study.workspace.tracking_url)
    source = str(client.get_model_version_by_alias("fields", "strategy-full").source)
    with warnings.catch_warnings():
        # MLflow's own.
        warnings.simplefilter("ignore")
        from mlflow import pyfunc

        model = pyfunc.load_model(source)
        given = pandas.DataFrame({"image": [file.read_bytes() for file in finished.test_files]})
        answers = model.predict(given)
    found = answers[[f"probability_{name}" for name in CLASSES]].to_numpy()
    assert np.abs(found - finished.calibrated("full")).max() < 1e-4
    needed = (Path(source.removeprefix("file://")) / "requirements.txt").read_text()
    assert f"tifffile=={tifffile.__version__}" in needed.splitlines()


@pytest.mark.slow  # A process. What cannot be loaded elsewhere is quick.
def test_the_networks_are_tried_elsewhere_with_their_own_example(finished: Finished) -> None:
    folders = [file.parent for file in (finished.study.workspace.root / "models").rglob("example.npy")]
    assert len(folders) == 3
    assert not load_faults(folders)


def test_cached_equals_uncached_and_the_search_repeats(finished: Finished, tmp_path: Path) -> None:
    again = run_search(request(finished.data, tmp_path, cache_budget="0", audit=False), Workspace(tmp_path / "other"))
    scores = [[trial.score for trial in study.results().trials] for study in (finished.study, again)]
    assert scores[0] == scores[1]
    for strategy in ("feature_extraction", "full", "scratch"):
        (one,) = [final for final in again.results().finals if final.strategy == strategy]
        assert np.array_equal(one.probabilities, finished.chosen(strategy).probabilities)


def test_the_same_command_resumes_and_another_number_is_another_study(finished: Finished, tmp_path: Path) -> None:
    workspace = finished.study.workspace
    assert run_search(request(finished.data, tmp_path), workspace).complete()
    with pytest.raises(InvalidInputError, match="channels: 5 there, 3 here"):
        run_search(request(finished.data, tmp_path, channels=3), workspace)


def test_no_script_pretends_to_read_them(finished: Finished) -> None:
    with pytest.raises(InvalidInputError, match="its images have 5 channels; a script reads color"):
        write_script(finished.study)


def test_people_see_the_first_three_channels(finished: Finished) -> None:
    study = finished.study
    gallery = find_gallery(study.facts.fingerprint, cache_dir=study.workspace.images, seed=0)
    assert gallery is not None
    uri = ThumbnailMaker().make(gallery, 0)
    assert uri is not None
    assert uri.startswith("data:image/jpeg;base64,")
    assert read_card(next((study.workspace.root / "models").rglob("network"))).preprocessing.channels == CHANNELS


def test_colors_are_not_changed_where_there_are_none(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text('[full]\naugmentation = { choices = ["flip_crop", "trivial"] }\nepochs = 2\n')
    asked = Request.create(
        str(finished.data), backbone="tiny_network:create", space=tmp_path / "space.toml", channels=5
    )
    with pytest.raises(InvalidInputError, match="'trivial' changes colors, which 5 channels do not have"):
        run_search(asked, Workspace(tmp_path / "workspace"))
    assert not (tmp_path / "workspace").exists()
