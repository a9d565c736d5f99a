"""Study files: what they say, what is typed before it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.errors import InvalidInputError
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.search.study.study_file import read_study
from frostline.storage.workspace import Workspace

from ...noise import write_photos


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=TerminalViews(), prog_name="frostline")


def refused(folder: Path, *args: str | Path) -> str:
    """The message of a search that is turned away before anything was made."""
    before = sorted(folder.rglob("*"))
    result = invoke("search", *args, "--workspace", folder / "made-by-search")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    assert sorted(folder.rglob("*")) == before
    return result.stderr


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


EVERYTHING = """
[study]
data = "photos"
backbone = "resnet18"
weights = "mine.pt"
image_size = 64
trials = 7
name = "first"
strategies = ["full"]
metric = "balanced_accuracy"
seed = 5
seeds = 2
device = "cpu"
plugins = []

[full]
epochs = 2

[partial]
freeze_depth = 3
"""


def test_places_may_be_typed_with_a_study_file(tmp_path: Path) -> None:
    file = write(tmp_path / "study.toml", '[study]\ndata = "missing"\n')
    typed = ["--storage", f"sqlite:///{tmp_path / 'studies.db'}", "--artifacts", tmp_path / "not" / "mounted"]
    said = refused(tmp_path, file, *typed)
    assert "missing" in said
    assert "--artifacts" in said


def test_every_option_of_a_file_is_in_the_request(tmp_path: Path) -> None:
    file = write(tmp_path / "here" / "study.toml", EVERYTHING)
    request = Request.read(file)
    assert request == Request(
        data=str(tmp_path / "here" / "photos"),
        backbone="resnet18",
        weights=str(tmp_path / "here" / "mine.pt"),
        image_size=64,
        trials=7,
        name="first",
        strategies=("full",),
        metric="balanced_accuracy",
        seed=5,
        finals_seeds=2,
        device="cpu",
        file=request.file,
    )
    assert request.file is not None
    space = request.file.space()
    assert space is not None
    assert list(space.strategies) == ["full", "partial"]
    given = Request.read(file, trials=9, data="elsewhere")
    assert (given.trials, given.data, given.seed) == (9, "elsewhere", 5)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sklearn:digits[5-9]@200", "sklearn:digits[5-9]@200"),
        ("torchvision:CIFAR10", "torchvision:CIFAR10"),
        ("../photos", "{folder}/../photos"),
        ("/data/photos", "/data/photos"),
        ("~/photos", "{home}/photos"),
    ],
)
def test_relative_data_are_beside_the_file(tmp_path: Path, written: str, meant: str) -> None:
    file = write(tmp_path / "study.toml", f"[study]\ndata = {written!r}\n")
    assert Request.read(file).data == meant.format(folder=tmp_path, home=Path.home())


@pytest.mark.parametrize("data", ["my:photos", "sklearn:digits", "photos"])
def test_a_folder_with_a_colon_in_its_name_is_a_folder(tmp_path: Path, data: str) -> None:
    (tmp_path / "my:photos").mkdir()
    file = write(tmp_path / "study.toml", f"[study]\ndata = {data!r}\n")
    assert Request.read(file).data == (data if data.startswith("sklearn:") else str(tmp_path / data))


@pytest.mark.parametrize("weights", ["w.PTH", "best.pth.tar", "last.ckpt", "there/w", "named"])
def test_files_of_weights_are_beside_the_study_file(tmp_path: Path, weights: str) -> None:
    write(tmp_path / "named", "")
    file = write(tmp_path / "study.toml", f"[study]\nweights = {weights!r}\n")
    assert Request.read(file).weights == str(tmp_path / weights)


def test_the_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = write(tmp_path / "study.toml", "[study]\nweights = '~/w.pt'\ndata = '~/photos'\n")
    request = Request.read(file)
    assert (request.weights, request.data) == (str(tmp_path / "home/w.pt"), str(tmp_path / "home/photos"))


@pytest.mark.parametrize("weights", ["none", "DEFAULT", "IMAGENET1K_V1"])
def test_names_of_weights_are_no_paths(tmp_path: Path, weights: str) -> None:
    file = write(tmp_path / "study.toml", f"[study]\nweights = {weights!r}\n")
    assert Request.read(file).weights == weights


def test_what_a_file_leaves_out_has_the_usual_defaults(tmp_path: Path) -> None:
    request = Request.read(write(tmp_path / "study.toml", '[study]\ndata = "/photos"\n'))
    assert request == Request(data="/photos", file=request.file)
    assert request.file is not None
    assert request.file.space() is None


FAULTY = """
[study]
data = "nowhere"
backbone = "resnet81"
trils = 3
seed = "4"
seeds = 0
image_size = 64.5
strategies = "full"
plugins = ["no_such_plugin"]

[full]
epoks = 3
"""


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "study.toml", FAULTY)
    message = refused(tmp_path, file)
    for part in (
        f"{file}: [study] Unknown option 'trils'. Did you mean 'trials'?",
        f"{file}: [study] seed: Input should be a valid integer, got '4'",
        f"{file}: [study] image_size: Input should be a valid integer",
        f"{file}: [study] strategies: Input should be a valid list, got 'full'",
        "Did you mean 'resnet18'?",
        "--seeds must be at least 1",
        "no_such_plugin",
        str(tmp_path / "nowhere"),
    ):
        assert part in message
    mended = write(file, FAULTY.replace('plugins = ["no_such_plugin"]', ""))
    assert f"{file}: [full] Unknown parameter 'epoks'. Did you mean 'epochs'?" in refused(tmp_path, mended)


@pytest.mark.parametrize(
    ("args", "text", "parts"),
    [
        (["study.toml"], "[study]\ntrials = 3\n", ["No dataset is named", "--data FOLDER"]),
        (["study.toml"], "[full]\nepochs = 3\n", ["no table [study]", "frostline search DATA --space", "study.toml"]),
        (["study.toml"], "study = 3\n", ["no table [study]"]),
        (["study.toml"], "[study\n", ["study file", "not valid TOML"]),
        (["missing.toml"], "", ["study file", "missing.toml cannot be read: No such file"]),
        (["sklearn:digits", "--space", "study.toml"], EVERYTHING, ["[study]", "frostline search", "study.toml"]),
        (
            ["sklearn:digits", "--data", "photos"],
            "",
            ["--data replaces the dataset of a study file", "'sklearn:digits'"],
        ),
    ],
)
def test_files_in_the_wrong_place_are_told_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], text: str, parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "study.toml", text)
    message = refused(tmp_path, *args)
    for part in parts:
        assert part in message


def test_a_folder_may_be_called_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "photos.toml").mkdir()
    assert "study file" not in refused(tmp_path, tmp_path / "photos.toml")


def test_a_fault_of_python_is_raised_with_the_rest(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_study(tmp_path)


def test_a_study_file_runs_and_what_is_typed_comes_first(tmp_path: Path) -> None:
    write_photos(tmp_path / "files" / "photos", {"cat": 6, "dog": 6})
    options = 'data = "photos"\nbackbone = "tiny_network:create"\nweights = "none"\nimage_size = 32\n'
    more = 'trials = 4\nseed = 5\nseeds = 3\nstrategies = ["linear_probe_exact"]\nmetric = "balanced_accuracy"\n'
    file = write(tmp_path / "files" / "probes.toml", f"[study]\n{options}{more}[linear_probe_exact]\n[full]\n")
    command = ["search", file, "--trials", "1", "--seed", "0", "--seeds", "1", "--workspace", tmp_path / "ws"]
    result = invoke(*command, "--json")
    assert result.exit_code == 0, result.output
    settings = Study.load("photos-probes", Workspace(tmp_path / "ws")).settings
    assert settings.data == str((tmp_path / "files" / "photos").resolve())
    assert (settings.backbone, settings.weights, settings.image_size) == ("tiny_network:create", "none", 32)
    assert (settings.trials, settings.seed, settings.finals_seeds) == (1, 0, 1)
    assert (settings.strategies, settings.metric) == (("linear_probe_exact",), "balanced_accuracy")
    # The same data by another name are the same question.
    again = invoke(*command, "--data", tmp_path / "files" / "photos" / ".." / "photos", "--json")
    assert again.stdout == result.stdout
    differs = invoke(*command[:-2], "--data", "sklearn:digits[0-1]@20", "--name", "photos-probes", *command[-2:])
    assert differs.exit_code == 2
    assert "sklearn:digits[0-1]@20 here" in differs.stderr


def test_the_number_of_channels_is_typed_or_written(tmp_path: Path) -> None:
    file = write(tmp_path / "fields.toml", '[study]\ndata = "fields"\nchannels = 5\n')
    assert Request.read(file).listing.channels == 5
    assert Request.read(file, {"channels": 4}).listing.channels == 4
    assert Request.create("fields").listing.channels == 3
    assert Request.create("fields", channels=13).listing.given() == {"channels": 13}
    with pytest.raises(InvalidInputError, match="channels: Input should be a valid integer, got '5'"):
        Request.create("fields", channels="5")
    assert "--channels does not go with sklearn:digits" in refused(tmp_path, "sklearn:digits", "--channels", "5")
