"""Exported networks give the calibrated probabilities that their finals recorded, in every form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.special import softmax
from torchvision.transforms import v2

from frostline.objectives.errors import InvalidInputError
from frostline.search.export import folder as folder_module
from frostline.search.export.folder import Exported, export_study
from frostline.search.export.kept import KeptNetwork, open_kept
from frostline.search.export.model_card import Graphs, describe_network
from frostline.storage.errors import StorageError

from .conftest import CLASSES, STRATEGIES, Finished


def ignore(line: str) -> None:
    pass


def exported(finished: Finished, strategy: str | None, to: Path, **options: Any) -> Exported:
    return export_study(finished.study, strategy, to, note=ignore, **options)


@pytest.fixture(scope="module")
def folders(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("exported")
    for strategy in STRATEGIES:
        done = exported(finished, strategy, root / strategy, pixels=strategy == "partial")
        assert not done.not_written
        assert not done.incomplete
    return {strategy: root / strategy for strategy in STRATEGIES}


def crops(finished: Finished, folder: Path) -> np.ndarray:
    """Test images as torchvision's own transforms resize and crop them, uint8 (N, S, S, 3)."""
    given = json.loads((folder / "config.json").read_text())["preprocessing"]
    crop = v2.Compose([v2.Resize(given["resize_size"]), v2.CenterCrop(given["image_size"])])
    return np.stack([np.asarray(crop(Image.open(file).convert("RGB"))) for file in finished.test_files])


def inputs(finished: Finished, folder: Path) -> np.ndarray:
    """Normalized test images, float32 (N, 3, S, S)."""
    given = json.loads((folder / "config.json").read_text())["preprocessing"]
    scaled = crops(finished, folder).astype(np.float32) / 255
    normalized = (scaled - np.float32(given["mean"])) / np.float32(given["std"])
    return np.ascontiguousarray(normalized.transpose(0, 3, 1, 2))


# Loads a folder where Frostline cannot be imported, by the line of the model card.
LOAD = """
import json, sys
for name in ("frostline", "optuna", "mlflow", "plotly", "typer", "rich", "jinja2", "sqlalchemy"):
    sys.modules[name] = None
import torch
network = torch.hub.load(sys.argv[1], "classifier", source="local")
assert isinstance(network, torch.nn.Module) and not network.training
images = torch.load(sys.argv[2], weights_only=True)
with torch.no_grad():
    logits = network(images)
predictor = torch.hub.load(sys.argv[1], "predictor", source="local", device="cpu")
files = json.loads(sys.argv[3])
print(json.dumps([logits.tolist(), predictor.predict(files).tolist(), sorted(network.state_dict())]))
"""


@pytest.mark.parametrize("strategy", ["partial", pytest.param("lora", marks=pytest.mark.slow)])
def test_one_line_loads_a_plain_module_where_frostline_is_not(
    finished: Finished, folders: dict[str, Path], tmp_path: Path, strategy: str
) -> None:
    folder = folders[strategy]
    torch.save(torch.from_numpy(inputs(finished, folder)), tmp_path / "images.pt")
    files = json.dumps([str(file) for file in finished.test_files])
    said = subprocess.run(
        [sys.executable, "-P", "-c", LOAD, str(folder), str(tmp_path / "images.pt"), files],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    logits, probabilities, names = json.loads(said.stdout.splitlines()[-1])
    expected = finished.calibrated(strategy)
    assert np.abs(softmax(logits, axis=1) - expected).max() < 1e-4
    assert np.abs(np.array(probabilities) - expected).max() < 1e-4
    assert names == sorted(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_onnx_and_torch_export_give_the_recorded_probabilities_on_every_test_image(
    finished: Finished, folders: dict[str, Path], strategy: str
) -> None:
    folder, expected = folders[strategy], finished.calibrated(strategy)
    pixels = strategy == "partial"
    given = crops(finished, folder) if pixels else inputs(finished, folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (logits,) = session.run(None, {"pixels" if pixels else "images": given})
    assert np.abs(softmax(np.asarray(logits), axis=1) - expected).max() < 1e-4
    program = torch.export.load(folder / "model.pt2").module()
    with torch.no_grad():
        found = program(torch.from_numpy(given)).softmax(dim=1).numpy()
        one = program(torch.from_numpy(given[:1])).softmax(dim=1).numpy()
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(one - expected[:1]).max() < 1e-4


def test_the_onnx_file_says_what_it_is(finished: Finished, folders: dict[str, Path]) -> None:
    model = onnx.load(folders["lora"] / "model.onnx")
    onnx.checker.check_model(model)
    assert [(each.domain, each.version) for each in model.opset_import if not each.domain] == [("", 18)]
    said = {each.key: each.value for each in model.metadata_props}
    assert json.loads(said["classes"]) == list(CLASSES)
    assert float(said["temperature"]) == finished.chosen("lora").temperature
    assert said["strategy"] == "lora"
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_adapters_are_merged_and_a_solved_probe_is_one_linear_layer(folders: dict[str, Path]) -> None:
    plain = load_file(folders["feature_extraction"] / "model.safetensors")
    assert load_file(folders["lora"] / "model.safetensors").keys() == plain.keys()
    solved = load_file(folders["linear_probe_exact"] / "model.safetensors")
    head = {name: tuple(value.shape) for name, value in solved.items() if name.startswith("head.")}
    assert sorted(len(shape) for shape in head.values()) == [1, 2]


def test_the_model_card_says_what_the_verdict_says(finished: Finished, folders: dict[str, Path]) -> None:
    verdict = finished.study.results().verdict
    assert verdict is not None
    for contender in verdict.contenders:
        card = (folders[contender.strategy] / "README.md").read_text()
        final = finished.chosen(contender.strategy)
        low, high = (f"{100 * bound:.1f}" for bound in contender.score_interval)
        for said in (
            verdict.sentence(),
            f"{100 * contender.mean:.1f} % accuracy",
            f"interval {low} to {high}",
            f"temperature {final.temperature:.3f}, fitted on 12 validation images",
            "| blue | 6 | 4 | 5 |",
            "`blue`, `green`, `red`",
            "all 15 test images",
            "opset 18",
            'torch.hub.load("FOLDER", "classifier", source="local")',
            "Only 15 test images",
        ):
            assert said in card, said
        recommended = "The verdict recommends this strategy." in card
        assert recommended == (contender is verdict.winner)
        # Of this machine's folders it says nothing.
        assert str(finished.data.parent) not in card


def test_class_names_are_no_markup_in_the_model_card(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile, shown = '<img src=x onerror=alert(1)>"`|', '&lt;img src=x onerror=alert(1)&gt;"&#96;&#124;'
    classes = (hostile, "night_heron-2", "[red](javascript:1)")
    study = finished.study
    with open_kept(study, "lora") as kept:
        facts = kept.results.facts
        counts = {split: dict.fromkeys(classes, 5) for split in facts.class_counts}
        results = replace(kept.results, facts=replace(facts, classes=classes, class_counts=counts))
        monkeypatch.setattr(KeptNetwork, "card", kept.card.model_copy(update={"classes": classes}))
        monkeypatch.setattr(
            study, "settings", study.settings.model_copy(update={"data": "a`b", "weights": "/w/<b>.pt"})
        )
        card = describe_network(study, replace(kept, results=results), Graphs(pixels=False, files=(), checked=""))
    assert hostile not in card
    assert f"| {shown} | 5 | 5 | 5 |" in card
    assert "| night_heron-2 | 5 | 5 | 5 |" in card
    assert f"<code>{shown}</code>, `night_heron-2`, <code>&#91;red&#93;(javascript:1)</code>." in card
    assert "<code>a&#96;b</code>: " in card
    assert "weights <code>&lt;b&gt;.pt</code>;" in card


def test_without_a_strategy_the_recommended_one_is_exported(finished: Finished, tmp_path: Path) -> None:
    verdict = finished.study.results().verdict
    assert verdict is not None
    exported(finished, None, tmp_path / "winner")
    assert (
        json.loads((tmp_path / "winner" / "config.json").read_text())["origin"]["strategy"] == verdict.winner.strategy
    )


def test_without_the_onnx_libraries_all_else_is_written(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "missing_onnx_libraries", lambda: ["onnxscript"])
    done = exported(finished, "partial", tmp_path)
    assert done.not_written == {"model.onnx": "it needs pip install 'frostline[onnx]'"}
    assert not done.incomplete
    expected = {"README.md", "code", "config.json", "hubconf.py", "model.pt2", "model.safetensors"}
    assert set(done.files) == expected == {file.name for file in tmp_path.iterdir()}
    assert "model.onnx" not in (tmp_path / "README.md").read_text()


def test_a_file_that_gives_other_probabilities_is_not_written(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = folder_module.write_program

    def wrong(program: Any, file: Path) -> Any:
        copy = write(program, file)
        return lambda images: 1.01 * copy(images)

    monkeypatch.setattr(folder_module, "write_program", wrong)
    monkeypatch.setattr(folder_module, "missing_onnx_libraries", lambda: ["onnx"])
    done = exported(finished, "partial", tmp_path)
    assert "differ by up to" in done.not_written["model.pt2"]
    assert done.incomplete
    assert not (tmp_path / "model.pt2").exists()


def test_a_network_that_changed_is_not_exported(finished: Finished, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from frostline.search.tracking import network_folder

    file = network_folder(finished.study, finished.chosen("partial")) / "network" / "model.safetensors"
    kept, tensors = file.read_bytes(), load_file(file)
    try:
        save_file({name: 3 * value for name, value in tensors.items()}, file)
        with pytest.raises(StorageError, match="does not give the probabilities that its final recorded"):
            exported(finished, "partial", tmp_path)
    finally:
        file.write_bytes(kept)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_take_a_network_are_refused_first(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder, word in ((tmp_path / "full", "not empty"), (tmp_path / "file", "is a file")):
        with pytest.raises(InvalidInputError, match=rf"{word}.*--to"):
            exported(finished, "partial", folder)
    with pytest.raises(InvalidInputError, match=r"Cannot write.*--to"):
        exported(finished, "partial", tmp_path / "file" / "below")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    assert len(list((tmp_path / "full").iterdir())) == 1


def test_without_the_test_images_the_copies_are_compared_on_noise_and_the_card_says_so(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "missing_onnx_libraries", lambda: ["onnx"])
    images = finished.workspace.images
    images.rename(tmp_path / "away")
    try:
        exported(finished, "partial", tmp_path / "folder")
    finally:
        (tmp_path / "away").rename(images)
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "The test images are not on the machine of the export: checked on 16 images of noise." in card
    assert (tmp_path / "folder" / "model.pt2").exists()


def test_an_interrupted_export_leaves_nothing(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(program: Any, file: Path) -> Any:
        raise KeyboardInterrupt

    def disk_full(program: Any, file: Path) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "write_program", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exported(finished, "partial", tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(folder_module, "write_program", disk_full)
    with pytest.raises(InvalidInputError, match="No space left on device"):
        exported(finished, "partial", tmp_path)
    assert not list(tmp_path.iterdir())
