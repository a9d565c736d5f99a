"""A user's head in whole studies: the numbers of the built-in one, networks that bring its module, early mistakes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from frostline.dashboards.cli import app
from frostline.objectives.errors import InvalidInputError
from frostline.search import Domain, FrostlineError, run_search
from frostline.search.api.objects import name_head
from frostline.search.space import create_space, default_tables, with_head
from frostline.search.study import Study
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

heads: Any = importlib.import_module("own_heads")
SPACE = {
    "shared": {"epochs": 2, "batch_size": 16, "learning_rate": Domain(low=1e-3, high=1e-1, log=True, default=2e-2)},
    "feature_extraction": {},
    "full": {"backbone_lr_ratio": 1.0},
    "linear_probe_exact": {},
}


def search(place: Path, **given: Any) -> Any:
    return run_search(
        few_digits(),
        **{"backbone": "tiny_network:create", "weights": "none", "image_size": 32, "device": "cpu", "audit": False},
        workspace=place,
        **{"trials": 4, "space": SPACE, "finals_seeds": 1, "name": "tiny", **given},
    )


def test_it_replaces_the_heads_that_are_trained() -> None:
    tables = {"shared": {"head.dropout": 0.1, "epochs": 3}, "full": {}, "linear_probe_exact": {}}
    space = with_head(create_space(tables), "a:b")
    assert space.default("full") == {"strategy": "full", "epochs": 3, "head.function": "a:b"}
    assert "head.function" not in space.default("linear_probe_exact")
    # The parameters of a head that is gone are at their defaults: what depends on others goes, too.
    bound = {
        "head.hidden_layers": {"low": 0, "high": 1},
        "warmup": {"choices": [0.1], "when": {"head.hidden_layers": [1]}},
        "weight_decay": {"choices": [0.1], "when": {"head.hidden_layers": [0]}},
    }
    space = with_head(create_space({"full": bound}), "a:b")
    assert space.default("full") == {"strategy": "full", "weight_decay": 0.1, "head.function": "a:b"}
    every = with_head(create_space(default_tables()), "a:b")
    assert every.strategies["lp_ft"]["probe_epochs"].when == {}


def test_it_has_an_importable_name() -> None:
    assert name_head(heads.gated) == "own_heads:gated"
    for given in (lambda shape, classes: None, heads.average((3, 1, 1), 2)):
        with pytest.raises(InvalidInputError, match=r"^head"):
            name_head(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"head": lambda shape, classes: None}, "head: "),
        ({"head": heads.one_logit}, "logits (2, 3) are needed"),
        ({"head": heads.kept}, "returns the same parameters again"),
        ({"head": "own_heads:avarage"}, "Did you mean 'average'?"),
        ({"space": {"full": {"head.function": "own_heads:raises", "truncate": 1}}}, "RuntimeError: no head today"),
        ({"space": {"full": {"head.function": "own_heads:average", "head.dropout": 0.2}}}, "leave out head.dropout"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_said_before_anything_is_made(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError) as raised:
        search(tmp_path / "ws", **given)
    assert said in str(raised.value)
    assert not (tmp_path / "ws").exists()


@pytest.mark.slow
def test_a_users_default_head_gives_the_study_of_the_built_in_one(tmp_path: Path) -> None:
    mine, known = (search(tmp_path / name, head=head) for name, head in (("a", heads.product_pooling), ("b", None)))
    trained = known.trials["strategy"] != "linear_probe_exact"
    assert set(mine.trials["params_head.function"][trained]) == {"own_heads:product_pooling"}
    # Trials that train together round otherwise than a user's head, which trains alone.
    for column in ("score", "params_learning_rate"):
        assert mine.trials[column][trained].tolist() == pytest.approx(known.trials[column][trained].tolist())
    assert mine.finals["test_score"].tolist() == known.finals["test_score"].tolist()
    assert max(mine.trials["score"]) > 0.5


@pytest.mark.slow
def test_a_network_brings_the_module_of_its_head(tmp_path: Path) -> None:
    study = search(tmp_path / "ws", head=heads.gated, trials=1, space={"full": {"epochs": 1}})
    assert "module own_heads" in Study.load("tiny", Workspace(tmp_path / "ws")).facts.code
    told = CliRunner().invoke(app, ["show", "tiny", "--as", "python", "--workspace", str(tmp_path / "ws")])
    assert told.exit_code == 2, told.output
    assert "its head is yours (own_heads:gated)" in told.output.replace("\n", " ")
    folder = tmp_path / "exported"
    done = CliRunner().invoke(app, ["export", "tiny", "--to", str(folder), "--workspace", str(tmp_path / "ws")])
    assert done.exit_code == 0, done.output
    assert (folder / "code" / "own_heads.py").is_file()
    image = tmp_path / "image.png"
    Image.new("RGB", (40, 40), "red").save(image)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hubconf; "
        "print(*hubconf.predictor('cpu').predict([sys.argv[2]])[0].tolist()); "
        "assert 'frostline' not in sys.modules; assert sys.argv[1] in sys.modules['own_heads'].__file__"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(image)],
        **{"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": ""}, "capture_output": True, "text": True},
    )
    assert ran.returncode == 0, ran.stderr
    assert np.allclose([float(each) for each in ran.stdout.split()], study.predict([image], device="cpu")[0], atol=1e-5)
