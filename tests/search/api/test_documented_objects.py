"""The page on Python, executed: its metric, sampler and head in a study of two workers, in a folder of the user's."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from frostline.search import FrostlineError, load_study, resume

PAGE = Path(__file__).parents[3] / "docs" / "python.md"
BACKBONES = Path(__file__).parents[2] / "backbones"
SMALL: dict[str, Any] = {
    "backbone": "tiny_network:create",
    "weights": "none",
    "image_size": 32,
    "trials": 2,
    "strategies": ["feature_extraction"],
    "space": {"feature_extraction": {"epochs": 1}},
    "finals_seeds": 1,
    "candidates": 1,
    "audit": False,
    "device": "cpu",
    "workers": 2,
    "name": "documented",
}


@pytest.mark.slow
def test_the_documented_objects_run_in_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (module,) = re.findall(r'```python title="my_objects.py"\n(.*?)```', page, re.DOTALL)
    (call,) = re.findall(r"```python\n(import my_objects\n.*?)```", page, re.DOTALL)
    file, elsewhere = tmp_path / "my_objects.py", tmp_path / "elsewhere"
    file.write_text(module, encoding="utf-8")
    elsewhere.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(BACKBONES))
    monkeypatch.chdir(tmp_path)
    # Workers find the module in the current folder, as this process does.
    with monkeypatch.context() as folder:
        folder.syspath_prepend(tmp_path)
        (tmp_path / "call.py").write_text(call.replace('"photos"', '"sklearn:digits[0-4]@100", **SMALL'))
        found = runpy.run_path(str(tmp_path / "call.py"), {"SMALL": SMALL})
    study = found["study"]
    assert (study.settings["metric"], study.settings["sampler"]) == ("my_objects:top_two", "my_objects:bolder_tpe")
    assert set(study.trials["params_head.function"]) == {"my_objects:two_widths"}
    assert study.finals["test_score"].between(0, 1, inclusive="right").all()
    # Readers do without the module.
    monkeypatch.chdir(elsewhere)
    monkeypatch.delitem(sys.modules, "my_objects")
    read = load_study("documented", workspace=tmp_path / "frostline-workspace")
    assert read.verdict == study.verdict
    assert "my_objects" not in sys.modules
    # Other code is another study.
    monkeypatch.chdir(tmp_path)
    file.write_text(module.replace("[:, :2]", "[:, :3]"), encoding="utf-8")
    with pytest.raises(FrostlineError, match=r"(?s)module my_objects: .* then, .* now.*--fork"):
        resume("documented", trials=3, device="cpu")
    sys.modules.pop("my_objects", None)
