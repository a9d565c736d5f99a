"""A trial as a script: it runs where Frostline is not, and comes to the recorded numbers."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.augmentation.policies import RandomOps
from frostline.objectives.config import TrialConfig
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.metrics import OBJECTIVES, score
from frostline.objectives.networks import add_lora
from frostline.objectives.phases import Phase, norms_and_biases
from frostline.objectives.strategies import plan_phases
from frostline.objectives.training import l2_sp
from frostline.search.execution import run_search
from frostline.search.export.embedded_sources import embed
from frostline.search.export.plain_phases import phase_faults
from frostline.search.export.trial_script import _template, write_script
from frostline.search.study import Request, Study
from frostline.search.study import precision as study_precision
from frostline.storage.workspace import Workspace

from .conftest import Finished

tiny_network: Any = importlib.import_module("tiny_network")
CLASSES = ("blue", "green", "red")
# Every strategy tries other parts of the recipe.
SPACE: Mapping[str, Any] = {
    "shared": {"epochs": 4, "batch_size": 16, "learning_rate": 0.01, "batch_norm": "train"},
    "feature_extraction": {"augmentation": "flip_crop", "head.dropout": 0.3, "views": 2},
    "partial": {"freeze_depth": 4, "mixing": "mixup", "mixing_alpha": 0.4, "ema_decay": 0.9, "head.pooling": "gem"},
    "full": {"augmentation": "trivial", "class_weights": "balanced", "gradient_clip": 1.0, "head.output": "cosine"},
    "lp_ft": {"schedule": "one_cycle", "head.hidden_layers": 1, "head.normalization": "batch", "probe_epochs": 2},
    "discriminative": {
        "head.pooling": "attention",
        "layer_decay": 0.8,
        "optimizer": "sgd",
        "label_smoothing": 0.1,
        "batch_norm": "eval",
    },
    "scratch": {"warmup": 0.2, "sampling": "balanced", "augmentation": "resized_crop"},
    "surgical": {"freeze_depth": 2, "trained_units": 5, "weight_decay": 0.1, "head.init": "zeros", "truncate": 2},
    "linear_probe_exact": {"head.depths": 3, "head.pooling": "avgmax"},
    "gradual_unfreezing": {"layer_decay": 0.9, "ema_decay": 0.8, "gradient_clip": 1.0, "freeze_depth": 3},
    "lora": {"weight_decay": 0.1, "lora_rank": 2},
    "norm_bias": {"head.init": "probe", "head.depths": 4},
    "l2_sp": {"l2_sp_alpha": 0.1, "weight_decay": 0.1, "optimizer": "sgd", "head.depths": 3},
}
# Nothing is frozen, or only what is computed alike: bit for bit the recorded probabilities on a CPU.
EXACT = ("full", "l2_sp")
# Largest difference of a probability: where statistics of batch norms stay, Frostline folds them and rounds otherwise,
# and training carries that on; the exact head is solved by another L-BFGS, to the same minimum.
CLOSE = {
    "feature_extraction": 1e-4,
    **dict.fromkeys(("partial", "lp_ft", "surgical", "linear_probe_exact", "discriminative"), 0.02),
    **dict.fromkeys(("gradual_unfreezing", "lora", "norm_bias"), 0.02),
}
# Runs scripts in a process in which nothing but torch and torchvision can be imported of what Frostline needs.
RUN = """
import json, runpy, sys
for name in ("frostline", "optuna", "mlflow", "sklearn", "scipy", "pydantic", "safetensors", "jinja2", "sqlalchemy"):
    sys.modules[name] = None
for file in sys.argv[1:]:
    found = runpy.run_path(file)["main"](["--device", "cpu"])
    print("FOUND", json.dumps({**found, "test_probabilities": found["test_probabilities"].tolist()}))
"""


def make_photos(folder: Path) -> None:
    """Noise whose color tells the class, for some images wrongly."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 24), ("test", 40)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count - 8 * label):
                pixels = rng.integers(0, 190, size=(40 + number % 7, 50, 3), dtype=np.uint8)
                pixels[:, :, label if rng.random() > 0.1 else rng.integers(3)] += 60
                Image.fromarray(pixels).save(folder / split / name / f"{number}.jpg")


def make_study(root: Path) -> Study:
    make_photos(root / "photos")
    torch.manual_seed(0)
    save_file(tiny_network.create(3).state_dict(), root / "tiny.safetensors")
    strategies = tuple(name for name in SPACE if name not in ("shared", "scratch"))
    return search_each_once(root, "tiny_network:create", "tiny.safetensors", strategies, name="script")


def search_each_once(
    root: Path,
    backbone: str,
    weights: str,
    strategies: tuple[str, ...],
    *,
    shared: Mapping[str, Any] = SPACE["shared"],
    **more: Any,
) -> Study:
    """A study of one trial and one final a strategy, on the photos of a folder."""
    request = Request(
        *(str(root / "photos"), backbone, str(root / weights), 32),
        trials=len(strategies),
        finals_seeds=1,
        candidates=1,
        racing=False,
        audit=False,
        space={"shared": dict(shared), **{name: SPACE[name] for name in strategies}},
        device="cpu",
        **more,
    )
    return run_search(request, Workspace(root / "workspace"))


def show(*arguments: str, place: Path) -> Result:
    return CliRunner().invoke(app, ["show", *arguments, "--workspace", str(place)], obj=TerminalViews())


def test_show_prints_a_trial(finished: Finished) -> None:
    root, verdict = finished.workspace.root, finished.study.results().verdict
    assert verdict is not None
    shown = show("photos", place=root).stdout
    assert shown.startswith(f"trial {verdict.winner.trial_number}: {verdict.winner.strategy}, complete, validation ")
    assert f"test {finished.chosen(verdict.winner.strategy).test_score:.4f}" in shown
    partial = finished.chosen("partial").trial_number
    assert show("photos", str(partial), place=root).stdout == show("photos", "partial", place=root).stdout
    assert re.search(r"^freeze_depth +2$", show("photos", "partial", place=root).stdout, re.MULTILINE)
    for arguments, said in (
        (("photos", "7"), "Unknown trial '7'. Valid: 0, 1, 2, 3, "),
        (("photos", "--as", "pyhton"), "Unknown form 'pyhton'. Did you mean 'python'? Valid: python, text."),
        (("photos", "--as", "python"), "cannot be written as a script"),
    ):
        refused = show(*arguments, place=root)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert said in refused.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("script"))


def values_of(folder: Path, text: str) -> dict[str, Any]:
    """Run a part of a script, and return what it defines."""
    (folder / "part.py").write_text(text, encoding="utf-8")
    return runpy.run_path(str(folder / "part.py"))


def run_scripts(folder: Path, scripts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Run scripts, and return what they found by name."""
    files = [folder / f"{name}.py" for name in scripts]
    for file, text in zip(files, scripts.values(), strict=True):
        file.write_text(text, encoding="utf-8")
    ended = subprocess.run([sys.executable, "-c", RUN, *map(str, files)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = [json.loads(line.removeprefix("FOUND")) for line in ended.stdout.splitlines() if line.startswith("FOUND")]
    return dict(zip(scripts, found, strict=True))


@pytest.mark.slow
def test_a_script_comes_to_the_recorded_numbers(study: Study, tmp_path: Path) -> None:
    scripts = {name: write_script(study, name) for name in (*EXACT, *CLOSE)}
    found = run_scripts(tmp_path, scripts)
    finals = {final.strategy: final for final in study.results().finals}
    for strategy, own in found.items():
        recorded = finals[strategy]
        apart = np.abs(np.array(own["test_probabilities"]) - recorded.probabilities).max()
        assert apart <= CLOSE.get(strategy, 0.0), (strategy, apart)
        # An image or two.
        assert own["test"] == pytest.approx(recorded.test_score, abs=0.0 if strategy in EXACT else 0.03), strategy
        assert own["validation"] == pytest.approx(recorded.val_score, abs=0.0 if strategy in EXACT else 0.04), strategy
    # They learned, so that equal numbers say something.
    assert finals["full"].test_score > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_torchvisions_networks_and_random_weights_too(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A CPU without instructions for bfloat16 computes the same, slowly.
    monkeypatch.setattr(study_precision, "has_bfloat16", lambda device: True)
    make_photos(tmp_path / "photos")
    request = Request(
        *(str(tmp_path / "photos"), "shufflenet_v2_x0_5", "none", 32),
        trials=1,
        finals_seeds=1,
        candidates=1,
        audit=False,
        space={"scratch": {"epochs": 2, **SPACE["scratch"]}},
        precision=precision,
        device="cpu",
        name="random",
    )
    study = run_search(request, Workspace(tmp_path / "workspace"))
    text = write_script(study)
    assert 'get_model("shufflenet_v2_x0_5", weights=None)' in text
    (final,) = study.results().finals
    (own,) = run_scripts(tmp_path, {"scratch": text}).values()
    assert np.array_equal(np.array(own["test_probabilities"]), final.probabilities)


@pytest.mark.slow
def test_a_script_says_what_trains(study: Study, tmp_path: Path) -> None:
    text = write_script(study, "partial")
    for part in ast.parse(text).body:
        assert not (isinstance(part, ast.ImportFrom) and (part.module or "").startswith("frostline"))
    values = values_of(
        tmp_path, text.split("# ---------------------------------------------------------------- images")[0]
    )
    (phase,) = values["PHASES"]
    assert phase.frozen == ("stem", "blocks.0", "blocks.1", "blocks.2")
    assert phase.head_rate == 0.01
    assert phase.rates == {"": pytest.approx(0.001)}
    assert {split: len(files) for split, files in values["FILES"].items()} == study.facts.counts
    assert values["FILES"]["train"][0] == ("train/blue/0.jpg", 0)
    assert values["RECIPE"].mixing == "mixup"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trial", "said"),
    [
        ("99", "Unknown trial '99'"),
        ("fulll", "Unknown trial 'fulll'. Did you mean 'full'?"),
    ],
)
def test_what_cannot_be_repeated_is_refused(study: Study, trial: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        write_script(study, trial)
    assert said in str(raised.value)


def test_what_only_a_plugin_knows_is_refused() -> None:
    def plan(**changed: Any) -> list[str]:
        return list(phase_faults([replace(Phase("own", 0, 1, 0.1, (0.1,)), **changed)]))

    assert plan(adapt=partial(add_lora, rank=1, alpha=1.0), penalty=partial(l2_sp, alpha=1.0, beta=1.0)) == []
    assert plan(selects=norms_and_biases) == []
    assert plan(adapt=lambda unit: None) == [
        "phase 'own' adds other adapters than those of lora, which a script does not repeat"
    ]
    assert plan(penalty=lambda network: None) == [
        "phase 'own' has another penalty than l2_sp, which a script does not repeat"
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (TrialConfig(strategy="gradual_unfreezing", unfreeze_every=0), "its phases share their epochs"),
        (TrialConfig(strategy="auto_rgn"), "its rates follow the gradients"),
    ],
)
def test_what_training_itself_decides_is_refused(config: TrialConfig, said: str) -> None:
    assert list(phase_faults(plan_phases(config, 4))) == [f"{said}, which a script does not repeat"]


@pytest.mark.slow
def test_transformers_of_timm_too(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", img_size=32).state_dict(), tmp_path / "vit.safetensors")
    strategies = ("lora", "gradual_unfreezing")
    shared = {**SPACE["shared"], "epochs": 2}
    study = search_each_once(
        *(tmp_path, "timm:test_vit", "vit.safetensors", strategies),
        shared=shared,
        metric="own_metrics:share_right",
        name="timm",
    )
    found = run_scripts(tmp_path, {name: write_script(study, name) for name in strategies})
    for final in study.results().finals:
        own = found[final.strategy]
        assert np.abs(np.array(own["test_probabilities"]) - final.probabilities).max() < 1e-4
        assert own["test"] == pytest.approx(final.test_score)
        assert final.test_score > 0.6


@pytest.mark.parametrize("metric", OBJECTIVES)
@pytest.mark.parametrize("classes", [2, 4])
def test_the_metrics_of_scripts_are_those_of_studies(metric: str, classes: int, tmp_path: Path) -> None:
    header = "import torch\nfrom torch import Tensor\n"
    values = values_of(tmp_path, header + _template("metrics.py.j2").render(metric=metric))
    rng = np.random.default_rng(classes)
    probabilities = rng.dirichlet(np.ones(classes), size=60).round(2)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = rng.integers(0, classes, size=60)
    found = values["score_of"](torch.from_numpy(probabilities), torch.from_numpy(labels))
    assert found == pytest.approx(score(metric, probabilities, labels), abs=1e-12)


def test_embedded_sources_bring_what_they_use(tmp_path: Path) -> None:
    header = "from __future__ import annotations\nimport torch, math\nimport torch.nn.functional as F\n"
    header += "import torchvision.transforms.v2.functional as TF\nfrom dataclasses import dataclass\n"
    header += "from functools import cache\nfrom torch import Tensor\n"
    values = values_of(tmp_path, header + embed(RandomOps))
    pixels = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    draws = torch.rand(6, 3)
    assert torch.equal(values["RandomOps"]("wide").apply(pixels, draws), RandomOps("wide").apply(pixels, draws))
    assert ">>>" not in embed(RandomOps)
