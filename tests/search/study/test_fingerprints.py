"""A study goes on with what it began with, or as another one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.errors import InvalidInputError
from frostline.search.execution.run import join
from frostline.search.slots.resources import Resources
from frostline.search.study import fingerprints
from frostline.search.study.extension import Extension
from frostline.search.study.observer import Observer
from frostline.search.study.prepare import prepare_search
from frostline.search.study.request import Request
from frostline.search.study.resume import prepare_fork, prepare_resume, reopen
from frostline.search.study.studies import study_names
from frostline.search.study.study import Study
from frostline.search.tracking.provenance import parent_tags
from frostline.storage.workspace import Workspace

from ...objectives.tiny import write_pets

FACTORY = """
import torch

def create():
    layers = torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(900, 3)
    return torch.nn.Sequential(*layers)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws")


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    data = write_pets(tmp_path / "pets")
    strategies = ("feature_extraction", "full")
    return Request(
        str(data), "tiny_network:create", "none", 32, trials=4, name="pets", strategies=strategies, device="cpu"
    )


@pytest.fixture
def study(request_: Request, workspace: Workspace) -> Iterator[Study]:
    study = prepare_search(request_, workspace, Observer()).study
    yield study
    study.close()


def another_torch(monkeypatch: pytest.MonkeyPatch, number: str = "1.0") -> None:
    real = fingerprints.version
    monkeypatch.setattr(fingerprints, "version", lambda name: number if name == "torch" else real(name))


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InvalidInputError) as caught:
        call()
    return str(caught.value)


def test_with_what_it_began_with_it_goes_on(study: Study, request_: Request, workspace: Workspace) -> None:
    assert {"space", "frostline", "torch", "torchvision", "training code"} <= study.facts.code.keys()
    prepare_resume("pets", workspace, Observer(), Extension(trials=6)).study.close()
    assert study.settings.trials == 4


def test_another_library_is_refused_with_both_ways_on(
    study: Study, request_: Request, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = study.facts.code["torch"]
    another_torch(monkeypatch)
    ways: list[Callable[[], Any]] = [
        lambda: prepare_resume("pets", workspace, Observer()),
        lambda: prepare_search(request_, workspace, Observer()),
        lambda: join("pets", workspace, Observer(), resources=Resources("cpu")),
    ]
    for way in ways:
        said = refusal(way)
        assert re.search(rf"(?m)^  torch: {re.escape(then)} then, 1\.0 now$", said)
        assert said.count(" then, ") == 1
        assert "Restore them" in said
        assert "frostline resume pets --fork ANOTHER --workspace" in said


def test_a_build_for_a_gpu_is_the_same_library(
    study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_torch(monkeypatch, f"{study.facts.code['torch']}+cu999")
    prepare_resume("pets", workspace, Observer()).study.close()


def test_changed_training_code_is_noticed(study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = fingerprints.training_sources()
    monkeypatch.setattr(fingerprints, "training_sources", lambda: sources[:-1])
    fingerprints.sources_digest.cache_clear()
    try:
        said = refusal(lambda: prepare_resume("pets", workspace, Observer()))
    finally:
        fingerprints.sources_digest.cache_clear()
    assert "  training code: " in said
    assert said.count(" then, ") == 1


@pytest.fixture
def copied_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that trains, whose digest is asked anew each time."""
    copy = shutil.copytree(fingerprints.training_package(), tmp_path / "copy")
    monkeypatch.setattr(fingerprints, "training_package", lambda: copy)
    monkeypatch.setattr(fingerprints, "sources_digest", fingerprints.sources_digest.__wrapped__)
    return copy


def test_comments_and_docstrings_are_no_change_of_code(copied_package: Path) -> None:
    before = fingerprints.sources_digest()
    file = copied_package / "metrics.py"
    file.write_text("# A comment.\n\n" + file.read_text().replace('"""', '"""Another docstring. ', 1))
    assert fingerprints.sources_digest() == before
    file.write_text(file.read_text() + "\nADDED = 1  # A comment.\n")
    assert fingerprints.sources_digest() != before


def test_code_of_keeps_what_runs() -> None:
    source = '''"""Docstring."""
import os  # Comment.

# Comment.
class Table:
    """Docstring
    of two lines."""

    name = """Not a docstring: # no comment"""

    def read(self):
        "Docstring."
        return "# text"
'''
    kept = '''import os
class Table:
    name = """Not a docstring: # no comment"""
    def read(self):
        return "# text"'''
    assert fingerprints.code_of(source) == kept


def test_a_moved_renamed_or_nested_file_is_a_change(copied_package: Path) -> None:
    before = fingerprints.sources_digest()
    nested = copied_package / "nested" / "metrics.py"
    nested.parent.mkdir()
    (copied_package / "metrics.py").rename(nested)
    moved = fingerprints.sources_digest()
    assert moved != before
    nested.write_text(nested.read_text() + "\nADDED = 1\n")
    assert fingerprints.sources_digest() not in (before, moved)


def test_changed_data_are_refused_by_resume_and_by_the_same_search(
    study: Study, request_: Request, workspace: Workspace
) -> None:
    Image.new("RGB", (30, 30), (1, 2, 3)).save(Path(request_.data) / "cat" / "new.png")
    for way in (
        lambda: prepare_resume("pets", workspace, Observer()),
        lambda: prepare_search(request_, workspace, Observer()),
    ):
        said = refusal(way)
        assert re.search(r"(?m)^  data: \w{12} then, \w{12} now$", said)
        assert said.count(" then, ") == 1


def test_a_changed_space_is_noticed(study: Study, workspace: Workspace) -> None:
    stored = study.settings.model_dump_json()
    changed = study.settings.model_copy(update={"space": study.settings.space.only(["full"])})
    study.inner.set_user_attr("frostline:settings", changed.model_dump_json())
    assert "  space: " in refusal(lambda: prepare_resume("pets", workspace, Observer()))
    study.inner.set_user_attr("frostline:settings", stored)
    prepare_resume("pets", workspace, Observer()).study.close()


def test_a_changed_module_of_the_users_is_noticed(
    tmp_path: Path, request_: Request, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drifting_net.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    own = Request(**{**vars(request_), "backbone": "drifting_net:create"})
    study = prepare_search(own, workspace, Observer()).study
    assert "module drifting_net" in study.facts.code
    (tmp_path / "drifting_net.py").write_text(f"{FACTORY}\n# changed\n")
    assert "  module drifting_net: " in refusal(lambda: prepare_resume("pets", workspace, Observer()))
    study.close()


def test_where_nothing_is_left_to_train_code_does_not_matter(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = reopen(study, Observer())
    another_torch(monkeypatch)
    parts = (study.settings, study.facts, prepared.dataset, prepared.backbones)
    fingerprints.require_unchanged(*parts, trains=False, option="")
    with pytest.raises(InvalidInputError):
        fingerprints.require_unchanged(*parts, trains=True, option="")


@pytest.mark.parametrize("trials", [0, -3, 1])
def test_a_fork_is_checked_before_it_is_made(study: Study, workspace: Workspace, trials: int) -> None:
    said = refusal(lambda: prepare_fork("pets", "pets-2", workspace, Observer(), Extension(trials=trials)))
    assert f"--trials {trials} is too few" in said or f"at least 1, got {trials}" in said
    assert study_names(workspace) == ["pets"]


def test_a_fork_keeps_its_checkpoints_where_the_study_does(study: Study, workspace: Workspace, tmp_path: Path) -> None:
    url = (tmp_path / "shared").as_uri()
    Study.load(study.settings.name, replace(workspace, artifacts_url=url)).ready()
    fork = prepare_fork("pets", "pets-2", workspace, Observer()).study
    assert Study.load("pets-2", workspace).artifacts_url == url
    fork.close()


def test_a_fork_asks_the_same_of_what_is_here_now(
    study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_torch(monkeypatch)
    fork = prepare_fork("pets", "pets-2", workspace, Observer(), Extension(trials=5)).study
    assert fork.settings.differences(study.settings).keys() == {"name", "trials"}
    assert (fork.facts.code["torch"], fork.facts.forked_from) == ("1.0", "pets")
    assert fork.tickets.counts() == (5, 0)
    assert parent_tags(fork)["frostline.forked_from"] == "pets"
    assert "frostline.forked_from" not in parent_tags(study)
    prepare_resume("pets-2", workspace, Observer()).study.close()
    fork.close()


def test_a_fork_needs_a_name_that_is_free(study: Study, workspace: Workspace) -> None:
    place = ["--workspace", str(workspace.root)]
    for name, said in (("pets", "a study of this name exists"), ("a b", "use letters")):
        result = CliRunner().invoke(app, ["resume", "pets", "--fork", name, *place], obj=TerminalViews())
        assert result.exit_code == 2
        assert said in result.stderr
