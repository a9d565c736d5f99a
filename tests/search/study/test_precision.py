"""The precision of a study: asked for or measured once, kept with it, refused where the device lacks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.config import BackboneSpec
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.precision import AUTO, BFLOAT16, EXACT, FLOAT32, Precision, PrecisionChoice
from frostline.search.slots import Resources
from frostline.search.study import precision
from frostline.search.study.facts import StudyFacts
from frostline.search.study.observer import Observer
from frostline.search.study.precision import precision_of, precision_of_features, study_precision
from frostline.search.study.prepare import prepare_search
from frostline.search.study.request import Request
from frostline.search.study.resume import prepare_fork, prepare_resume
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MEASURED = PrecisionChoice(Precision(BFLOAT16, FLOAT32), (2.0, 0.7), 0.01)
REQUEST = Request("sklearn:digits[0-2]@60", backbone="tiny_network:create", weights="none", image_size=32, name="toy")
FACTS = StudyFacts(("a",), {}, "", (), (), ())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.locate(tmp_path / "workspace")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[BackbonePool]:
    """What was measured; each measurement finds bfloat16 fast for features only."""
    seen: list[BackbonePool] = []

    def measure(backbones: BackbonePool, device: torch.device, *, threads: int) -> PrecisionChoice:
        seen.append(backbones)
        return MEASURED

    monkeypatch.setattr(precision, "choose_precision", measure)
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    return seen


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)


def pool() -> BackbonePool:
    return BackbonePool(BackboneSpec("tiny_network:create", "none", 32))


def test_what_was_measured_is_remembered_by_network_and_threads(
    workspace: Workspace, measured: list[BackbonePool], monkeypatch: pytest.MonkeyPatch
):
    workspace.create()
    monkeypatch.setattr(precision, "_threads", lambda resources: resources.workers or 2)
    for _ in range(2):
        assert study_precision(AUTO, pool(), Resources(), workspace) == MEASURED
    assert len(measured) == 1
    study_precision(AUTO, pool(), Resources(workers=16), workspace)
    study_precision(AUTO, BackbonePool(BackboneSpec("tiny_network:create", "none", 64)), Resources(), workspace)
    assert len(measured) == 3
    for file in workspace.precisions.iterdir():
        file.write_text("{torn", encoding="utf-8")
    for _ in range(2):
        assert study_precision(AUTO, pool(), Resources(), workspace) == MEASURED
    assert len(measured) == 4


@pytest.mark.parametrize("wanted", [FLOAT32, BFLOAT16])
def test_what_is_asked_for_is_not_measured(wanted: str, workspace: Workspace, measured: list[BackbonePool]):
    assert study_precision(wanted, pool(), Resources(), workspace).precision == Precision.both(wanted)
    assert measured == []
    assert not workspace.root.exists()


def test_a_study_keeps_its_precision_whatever_is_faster_later(
    workspace: Workspace, measured: list[BackbonePool], monkeypatch: pytest.MonkeyPatch
):
    workspace.create()
    created = prepare_search(REQUEST, workspace, Observer()).study
    assert created.facts.precision == MEASURED
    monkeypatch.setattr(precision, "choose_precision", lambda *given, **more: PrecisionChoice(EXACT))
    for file in workspace.precisions.iterdir():
        file.unlink()
    again = prepare_search(REQUEST, workspace, Observer()).study
    resumed = prepare_resume("toy", workspace, Observer()).study
    forked = prepare_fork("toy", "copy", workspace, Observer()).study
    for study in (again, resumed, forked, Study.load("toy", workspace)):
        assert study.facts.precision == MEASURED
    with pytest.raises(InvalidInputError, match="precision: auto there, float32 here"):
        prepare_search(replace(REQUEST, precision=FLOAT32), workspace, Observer())


def test_an_unknown_precision_is_refused(workspace: Workspace):
    with pytest.raises(InvalidInputError, match=r"--precision 'half' is unknown\. Valid: auto, float32, bfloat16"):
        prepare_search(replace(REQUEST, precision="half"), workspace, Observer())
    assert not workspace.root.exists()


@pytest.mark.usefixtures("without_bfloat16")
def test_a_device_without_bfloat16_is_told_what_auto_takes(tmp_path: Path):
    options = ["--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32"]
    place = ["--workspace", str(tmp_path / "made")]
    found = CliRunner().invoke(
        app, ["search", REQUEST.data, *options, "--precision", "bfloat16", *place], obj=TerminalViews()
    )
    assert found.exit_code == 2
    assert "no arithmetic in bfloat16. Use --precision auto, which takes float32 here." in found.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.usefixtures("without_bfloat16")
@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (MEASURED, "is features in bfloat16"),
        (PrecisionChoice(Precision.both(BFLOAT16)), "is bfloat16, and this device"),
    ],
)
def test_a_worker_without_the_studys_precision_is_refused(chosen: PrecisionChoice, said: str):
    with pytest.raises(InvalidInputError, match=rf"precision of this study {said}.* another with --precision float32"):
        precision_of(replace(FACTS, precision=chosen), CPU)


@pytest.mark.usefixtures("without_bfloat16")
def test_a_study_that_a_device_lacks_the_precision_of_still_has_its_faults_found():
    assert precision_of(replace(FACTS, precision=PrecisionChoice(EXACT)), CPU) == EXACT
    # The search for faults of the data goes on where the trials are elsewhere.
    assert precision_of_features(replace(FACTS, precision=MEASURED), CPU) == FLOAT32


@pytest.mark.usefixtures("without_bfloat16")
@pytest.mark.parametrize(("kind", "expected"), [("cuda", BFLOAT16), ("cpu", FLOAT32)])
def test_a_clusters_devices_are_not_measured_here(
    kind: str, expected: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    resources = Resources(engine="ray")
    monkeypatch.setattr(precision, "create_engine", lambda given: SimpleNamespace(device_type=kind))
    choice = study_precision(AUTO, pool(), resources, workspace)
    assert choice.precision == Precision.both(expected)
    assert "cluster" in choice.sentence
    assert precision.precision_faults(BFLOAT16, resources) == []


def test_studies_from_before_there_was_a_choice_keep_theirs():
    assert precision_of(FACTS, CPU) == EXACT
    assert precision_of(FACTS, CUDA) == Precision.both(BFLOAT16)
