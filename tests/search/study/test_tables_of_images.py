"""Studies of tables of paths and labels: what is stored, what other processes read, what counts as changed data."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.dashboards.report.report import render_report, search_command
from frostline.objectives.data import ListingOptions
from frostline.objectives.errors import InvalidInputError
from frostline.search.execution import run_search
from frostline.search.execution.run import join
from frostline.search.slots import Resources
from frostline.search.study import Request
from frostline.search.study.observer import Observer
from frostline.search.study.prepare import prepare_search
from frostline.search.study.resume import prepare_fork, prepare_resume, reopen
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from ...noise import write_photos

COLUMNS = ListingOptions(path_column="photo", label_column="species", group="patient")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A table of 60 photos of 20 patients, beside the folder of its images."""
    folder = write_photos(tmp_path / "ward", {"scans": 60})
    rows = [(f"{number}.png", ("cat", "dog")[number % 2], f"p{number // 3}") for number in range(60)]
    pandas.DataFrame(rows, columns=["photo", "species", "patient"]).to_csv(folder / "scans.csv", index=False)
    return folder


def asked(folder: Path, **more: Any) -> Request:
    options: dict[str, Any] = {"trials": 2, "strategies": ("full",), "finals_seeds": 1, "candidates": 1} | more
    return Request(
        str(folder / "scans.csv"),
        "tiny_network:create",
        "none",
        32,
        name="scans",
        device="cpu",
        **{"listing": ListingOptions(**{**vars(COLUMNS), "image_root": str(folder / "scans")}), **options},
    )


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InvalidInputError) as caught:
        call()
    return str(caught.value)


def edit(folder: Path, column: str, row: int, value: str) -> None:
    table = pandas.read_csv(folder / "scans.csv")
    table.loc[row, column] = value
    table.to_csv(folder / "scans.csv", index=False)


def test_settings_are_stored_and_read_again_with_the_same_splits(tables: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    began = prepare_search(asked(tables), workspace, Observer())
    assert began.study.settings.listing.image_root == "scans", "relative to the table, so that both may move"
    opened = Study.load("scans", workspace)
    assert opened.settings == began.study.settings
    assert reopen(opened, Observer()).dataset == began.dataset
    groups = [
        {name for name in began.dataset.audited().found if name.split == split} for split in ("train", "val", "test")
    ]
    assert all(groups)
    homes = _homes(began.dataset.audited())
    assert not homes["train"] & homes["val"]
    assert not (homes["train"] | homes["val"]) & homes["test"]
    assert any("20 groups of images (column 'patient')" in note for note in opened.facts.data_notes)
    forked = prepare_fork("scans", "again", workspace, Observer())
    assert forked.dataset == began.dataset
    # The same search goes on with the study; another column is another search.
    assert prepare_search(asked(tables), workspace, Observer()).dataset == began.dataset
    said = refusal(lambda: prepare_search(asked(tables, listing=COLUMNS), workspace, Observer()))
    assert "60 of 60 files are not in" in said
    ungrouped = ListingOptions(path_column="photo", label_column="species", image_root=str(tables / "scans"))
    said = refusal(lambda: prepare_search(asked(tables, listing=ungrouped), workspace, Observer()))
    assert "group: patient there, nothing here" in said


def _homes(images: Any) -> dict[str, set[str]]:
    homes: dict[str, set[str]] = {}
    for image, group in zip(images.found, images.groups, strict=True):
        homes.setdefault(image.split, set()).add(group)
    return homes


@pytest.mark.parametrize(("column", "value"), [("species", "dog"), ("patient", "p9")])
def test_a_changed_label_or_group_is_another_dataset(tables: Path, tmp_path: Path, column: str, value: str) -> None:
    workspace = Workspace(tmp_path / "work")
    prepare_search(asked(tables), workspace, Observer()).study.close()
    edit(tables, column, 0, value)
    said = refusal(lambda: prepare_resume("scans", workspace, Observer()))
    assert "data: " in said
    assert "frostline resume scans --fork ANOTHER" in said
    shutil.copy(tables / "scans.csv", tables / "copy.csv")


def test_rows_in_another_order_are_the_same_dataset(tables: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    prepare_search(asked(tables), workspace, Observer()).study.close()
    pandas.read_csv(tables / "scans.csv").iloc[::-1].assign(age=3).to_csv(tables / "scans.csv", index=False)
    prepare_resume("scans", workspace, Observer()).study.close()


def test_other_splits_of_the_same_images_are_refused(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another version of a library may make them, on another machine."""
    from frostline.objectives.data import image_cache

    study = prepare_search(asked(tables), Workspace(tmp_path / "work"), Observer()).study
    real = image_cache.resolve_splits
    monkeypatch.setattr(
        image_cache, "resolve_splits", lambda given, labels, seed, groups: real(given, labels, 7, groups)
    )
    shutil.rmtree(tmp_path / "work/images")
    assert "splits: " in refusal(lambda: reopen(study, Observer()))


def test_a_worker_reads_the_rows_where_they_are_on_its_machine(tables: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    study = prepare_search(asked(tables), workspace, Observer()).study
    moved = tables.rename(tmp_path / "moved")
    assert "scans.csv" in refusal(lambda: reopen(study, Observer()))
    assert reopen(study, Observer(), str(moved / "scans.csv")).dataset.fingerprint == study.facts.fingerprint
    images, table = (moved / "scans").rename(tmp_path / "images"), str(moved / "scans.csv")
    assert "--image-root" in refusal(lambda: reopen(study, Observer(), table))
    assert reopen(study, Observer(), table, str(images)).dataset.fingerprint == study.facts.fingerprint
    join("scans", workspace, Observer(), resources=Resources("cpu"), data=table, image_root=str(images))
    assert study.results().verdict is not None


def test_workers_in_slots_read_the_same_rows(tables: Path, tmp_path: Path, thread_engine: str) -> None:
    one = run_search(asked(tables, trials=1), Workspace(tmp_path / "one"))
    two = run_search(asked(tables, trials=1, workers=2, engine=thread_engine), Workspace(tmp_path / "two"))
    (alone,), (shared,) = one.final_records(), two.final_records()
    np.testing.assert_allclose(shared.probabilities, alone.probabilities, atol=1e-5)
    assert one.facts.splits == two.facts.splits


def test_a_study_file_and_the_command_line_say_the_same(tables: Path, tmp_path: Path) -> None:
    file = tables / "study.toml"
    file.write_text(
        '[study]\ndata = "scans.csv"\npath_column = "photo"\nlabel_column = "species"\ngroup = "patient"\n'
        'image_root = "scans"\nbackbone = "tiny_network:create"\nweights = "none"\nimage_size = 32\ntrials = 2\n'
        'name = "scans"\nstrategies = ["full"]\nseeds = 1\ndevice = "cpu"\n'
    )
    request = Request.read(file, candidates=1)
    assert request.listing == asked(tables).listing
    assert Request.read(file, {"group": "none"}).listing == ListingOptions(**{**vars(request.listing), "group": "none"})
    workspace = Workspace(tmp_path / "work")
    prepare_search(request, workspace, Observer()).study.close()
    assert prepare_search(asked(tables), workspace, Observer()).study.settings.name == "scans"


def test_the_report_repeats_the_search_from_any_folder(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = prepare_search(asked(tables), Workspace(tmp_path / "work"), Observer()).study
    words = shlex.split(search_command(study.settings).replace("\\\n", ""))
    assert words[words.index("--image-root") + 1] == str(tables / "scans")
    assert words[words.index("--group") + 1] == "patient"
    # The command finds the study that it repeats.
    monkeypatch.chdir("/")
    more = ["--name", "scans", "--candidates", "1", "--trials", "1", "-w", str(tmp_path / "work")]
    said = CliRunner().invoke(app, [*words[1:], *more], obj=TerminalViews(), prog_name="frostline")
    assert said.exit_code == 2
    assert "trials: 2 there, 1 here" in said.stderr
    assert "group" not in said.stderr


def test_groups_that_straddle_given_splits_are_a_leak(tables: Path, tmp_path: Path) -> None:
    table = pandas.read_csv(tables / "scans.csv")
    # Patients p0 to p9 train, p10 to p14 validate, p15 to p19 test; but of p0, one image is in the test split.
    patient = table["patient"].str[1:].astype(int)
    table["split"] = np.select([patient < 10, patient < 15], ["train", "dev"], "testing")
    table.loc[1, "split"] = "testing"
    table.to_csv(tables / "scans.csv", index=False)
    notes: list[str] = []

    class Notes(Observer):
        def note(self, message: str) -> None:
            notes.append(message)

    study = run_search(asked(tables, trials=1, audit=False), Workspace(tmp_path / "work"), Notes())
    results = study.results()
    said = "1 of 16 test images (6.2 %) is of groups that have training or validation images too."
    assert any(said in note and "frostline report scans" in note for note in notes)
    verdict = results.verdict
    assert verdict is not None
    assert (
        "1 of 16 test images (6.2 %) is of groups that are also in the training or validation images"
        in verdict.sentence()
    )
    assert "Give each group one split" in verdict.sentence()
    assert verdict.leaks is not None
    (final,) = results.finals
    kept = np.array([name != "1.png" for name in _test_names(study)])
    right = (final.probabilities.argmax(axis=1) == final.labels)[kept]
    assert verdict.leaks.scores["full"] == pytest.approx(right.mean())
    assert "Groups that are in several splits: 1" in render_report(results)
    assert "p0: 2 train, 1 test" in render_report(results)


def _test_names(study: Study) -> list[str]:
    found = reopen(study, Observer(), trains=False).dataset.audited().found
    return [
        image.name for image in sorted((each for each in found if each.split == "test"), key=lambda it: it.position)
    ]
