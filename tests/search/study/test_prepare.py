"""What a search refuses: exit code 2, a message that names the thing and what is valid, and nothing made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import shufflenet_v2_x0_5
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.errors import InvalidInputError
from frostline.search.study import checks
from frostline.search.study.checks import train_images
from frostline.search.study.observer import Observer
from frostline.search.study.prepare import default_name, few_images_sentence, prepare_search
from frostline.search.study.request import Request
from frostline.search.study.resume import prepare_resume
from frostline.storage.workspace import Workspace

from ...noise import write_photos

GOOD = ("--backbone", "shufflenet_v2_x0_5", "--weights", "none", "--image-size", "32", "--trials", "5")
DIGITS = "sklearn:digits[0-2]@60"


def refused(workspace: Path, *args: str | Path) -> str:
    """The message of a search that is turned away before anything was made."""
    place = ["--workspace", str(workspace / "made-by-search")]
    before = sorted(workspace.rglob("*"))
    result = CliRunner().invoke(app, ["search", *map(str, args), *place], obj=TerminalViews())
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(workspace.rglob("*")) == before
    return result.stderr


def with_option(name: str, value: str | Path) -> list[str]:
    """The good options but for one, which is last and so decides."""
    return [DIGITS, *GOOD, name, str(value)]


@pytest.mark.parametrize(
    ("option", "value", "parts"),
    [
        ("--backbone", "shuflenet_v2_x0_5", ["'shuflenet_v2_x0_5'", "shufflenet_v2_x0_5", "frostline backbones"]),
        ("--strategy", "ful", ["'ful'", "Did you mean 'full'?", "scratch"]),
        ("--metric", "log_loss", ["'log_loss'", "reported", "macro_f1"]),
        ("--metric", "acuracy", ["'acuracy'", "Did you mean 'accuracy'?", "balanced_accuracy"]),
        ("--weights", "IMAGENET1K_V7", ["IMAGENET1K_V7", "IMAGENET1K_V1"]),
        ("--device", "gpu", ["gpu", "cuda"]),
        ("--image-size", "3", ["3"]),
        ("--tracking-uri", "ftp://host/mlflow", ["--tracking-uri", "http", "sqlite:////path/mlflow.db"]),
        ("--tracking-uri", "postgresql+nodriver://host/mlflow", ["--tracking-uri", "nodriver", "Install"]),
        ("--trials", "0", ["--trials must be at least 1"]),
        ("--trials", "-3", ["--trials", "-3"]),
        ("--seeds", "0", ["--seeds must be at least 1"]),
        ("--seed", "-1", ["--seed must be at least 0"]),
        ("--name", "my study", ["--name", "'my study'"]),
        ("--name", "../../evil", ["--name", "'../../evil'"]),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, option: str, value: str, parts: list[str]) -> None:
    message = refused(tmp_path, *with_option(option, value))
    for part in parts:
        assert part in message


def test_fewer_trials_than_strategies_are_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, *with_option("--trials", "3"))
    for part in ("--trials 3", "5 strategies", "--strategy"):
        assert part in message


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("sklearn:digit", ["sklearn:digits"]),
        ("sklearn:digits[7-3]", ["7-3", "[5-9]"]),
        ("sklearn:digits[0-2]@9999", ["@9999"]),
        ("torchvision:CIFAR11", ["Did you mean 'torchvision:CIFAR10'?"]),
        ("torchvison:CIFAR10", ["'torchvison'", "Did you mean 'torchvision'?"]),
        ("no-such-folder", ["no-such-folder", "folder"]),
    ],
)
def test_unknown_data_are_refused(tmp_path: Path, data: str, parts: list[str]) -> None:
    message = refused(tmp_path, data, *GOOD)
    for part in parts:
        assert part in message


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert str(tmp_path / "photos") in refused(tmp_path, tmp_path / "photos", *GOOD)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", {"cat": 9})
    message = refused(tmp_path, folder, *GOOD)
    assert "only the class 'cat'" in message


def test_every_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", {"cat": 9, "dog": 2, "eel": 1})
    message = refused(tmp_path, folder, *GOOD)
    assert "'dog' has 2 usable images" in message
    assert "'eel' has 1 usable image " in message
    assert "'cat'" not in message


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt", "broken.pth"])
def test_unreadable_weights_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all" * 20)
    assert name in refused(tmp_path, *with_option("--weights", tmp_path / name))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    message = refused(tmp_path, *with_option("--weights", tmp_path / "other.safetensors"))
    assert "other.safetensors" in message


def test_weights_with_code_in_them_are_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pt")
    assert "evil.pt" in refused(tmp_path, *with_option("--weights", tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_a_bad_space_file_is_refused_with_all_its_faults(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text("[full]\nlearning_rat = 1e-3\nwarmup = { low = 0.3, high = 0.1 }\n[partail]\nepochs = 3\n")
    message = refused(tmp_path, *with_option("--space", space))
    for part in (str(space), "Did you mean 'learning_rate'?", "low is above high", "Did you mean 'partial'?"):
        assert part in message


def test_a_depth_that_the_backbone_does_not_have_is_refused(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text("[partial]\nfreeze_depth = { low = 1, high = 500 }\n")
    message = refused(tmp_path, *with_option("--space", space))
    assert "freeze_depth" in message
    assert "units" in message


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("[full]\ntruncate = 18", ["truncate must be below 18", "got 18"]),
        ("[partial]\ntruncate = { low = 0, high = 4 }\nfreeze_depth = 15", ["between 1 and 13", "truncate drops 4"]),
        ("[partial]\ntruncate = 4\nfreeze_depth = -1", ["got 17 (or -1: a negative depth counts from all 18 units)"]),
        ("[scratch]\nhead = { init = 'probe' }", ["scratch has none", "set another init"]),
        (
            "[full]\nhead = { init = 'probe', hidden_layers = { low = 0, high = 1 } }",
            ["solves a linear head", "head.hidden_layers = 0"],
        ),
        (
            "[full]\nhead = { output = { choices = ['linear', 'cosine'] }, init = { choices = ['default', 'zeros'] } }",
            ["head.init = 'zeros' needs head.output = 'linear'"],
        ),
        ("[full]\nclass_weights = 'balanced'\nsampling = 'balanced'", ["corrects twice"]),
        ("[linear_probe_exact]\nmixing = 'mixup'", ["linear_probe_exact", "takes no mixing"]),
        ("[full]\nmixing = 'mixcut'", ["mixing", "'mixup' or 'cutmix'"]),
    ],
)
def test_knobs_that_contradict_each_other_are_refused_wherever_in_their_ranges(
    tmp_path: Path, table: str, parts: list[str]
) -> None:
    space = tmp_path / "space.toml"
    space.write_text(table)
    message = refused(tmp_path, *with_option("--space", space))
    for part in parts:
        assert part in message


BRANCHING = """
from torch import nn

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        x = self.first(x)
        return self.second(2 * x if self.training else x)
"""


def test_a_network_that_cannot_follow_its_mode_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "branching_network.py").write_text(BRANCHING)
    monkeypatch.syspath_prepend(tmp_path)
    folder = write_photos(tmp_path / "photos", {"cat": 8, "dog": 8})
    request = Request(data=str(folder), backbone="branching_network:Branching", image_size=32, trials=7)
    said: list[str] = []

    class Listening(Observer):
        def note(self, message: str) -> None:
            said.append(message)

    study = prepare_search(request, Workspace(tmp_path / "w"), Listening()).study
    note, few = study.facts.notes
    assert few == few_images_sentence(study.facts.counts)
    assert "branching_network:Branching: Its own forward does in training what it does in evaluation" in note
    assert note in said


def test_strategies_that_find_nothing_to_train_are_refused(tmp_path: Path) -> None:
    args = [DIGITS, "-b", "alexnet", "--weights", "none", "--image-size", "64", "--trials", "2"]
    message = refused(tmp_path, *args, "-s", "lora", "-s", "full")
    assert "lora: nothing to train: these units have no linear layer and no 1x1 convolution." in message


def test_attention_is_refused_where_there_is_nothing_to_attend_to(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('[full]\nhead.pooling = { choices = ["avg", "attention"] }\n')
    message = refused(tmp_path, *with_option("--backbone", "odd_networks:vectors_last"), "--space", space)
    assert (
        "full: head.pooling = 'attention' needs a feature map or tokens, and the last unit, more, has none" in message
    )


def test_all_faults_of_a_command_come_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, "nowhere", *GOOD[2:], "-b", "resnet81", "-n", "0", "-s", "ful", "--metric", "f1")
    for part in ("nowhere", "resnet81", "--trials", "'ful'", "'f1'"):
        assert part in message


def test_the_request_is_refused_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        prepare_search(Request(data="nowhere", backbone="resnet81", trials=0), Workspace(tmp_path / "w"), Observer())
    assert len(refusal.value.faults) == 3
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("data", "backbone", "name"),
    [
        ("flowers", "resnet18", "flowers-resnet18"),
        ("sklearn:digits[5-9]@200", "vgg11", "sklearn-digits-5-9-200-vgg11"),
        (".hidden", "vgg11", "hidden-vgg11"),
        ("x" * 300, "vgg11", "x" * 100),
    ],
)
def test_a_study_is_named_after_data_and_backbone(data: str, backbone: str, name: str) -> None:
    assert default_name(data, backbone) == name


def test_train_images_counts_what_is_left_for_training(tmp_path: Path) -> None:
    # 60 for training and validation; 15 % of them validate, class by class.
    assert train_images(DIGITS, Workspace(tmp_path)) == pytest.approx(51, abs=2)
    assert list(tmp_path.iterdir()) == []


def test_the_same_request_opens_the_same_study(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", {"cat": 8, "dog": 30})
    request = Request(data=str(folder), backbone="shufflenet_v2_x0_5", weights="none", image_size=32, trials=7)
    workspace = Workspace(tmp_path / "w")
    made = prepare_search(request, workspace, Observer()).study
    assert made.settings.metric == "balanced_accuracy"
    assert made.settings.name == "photos-shufflenet_v2_x0_5"
    assert made.facts.classes == ("cat", "dog")
    assert made.facts.prepared == ("Each image is resized to 37 px on the shorter side, then cropped to 32 x 32 px.")
    assert sum(made.facts.counts.values()) == 38
    assert made.trials() == []
    again = prepare_search(request, workspace, Observer()).study
    assert again.settings == made.settings
    assert again.facts == made.facts
    assert again.trials() == []


def test_other_settings_are_named_as_they_are_typed(tmp_path: Path) -> None:
    request = Request(data=DIGITS, backbone="shufflenet_v2_x0_5", weights="none", image_size=32, name="same")
    workspace = Workspace(tmp_path)
    prepare_search(request, workspace, Observer())
    with pytest.raises(InvalidInputError) as refusal:
        prepare_search(replace(request, finals_seeds=3, racing=False), workspace, Observer())
    assert "  seeds: 8 there, 3 here" in refusal.value.faults
    assert "  race: True there, False here" in refusal.value.faults


def test_a_study_does_not_go_on_with_other_weights(tmp_path: Path) -> None:
    file, workspace = tmp_path / "weights.safetensors", Workspace(tmp_path / "workspace")
    weights = {name: value.contiguous() for name, value in shufflenet_v2_x0_5(weights=None).state_dict().items()}
    save_file(weights, file)
    request = Request(data=DIGITS, backbone="shufflenet_v2_x0_5", weights=str(file), image_size=32, name="drift")
    prepare_search(request, workspace, Observer())
    assert prepare_resume("drift", workspace, Observer()).study.settings.name == "drift"
    save_file({**weights, "conv1.0.weight": weights["conv1.0.weight"] + 1e-3}, file)
    with pytest.raises(InvalidInputError, match=r"(?s)weights: \w{12} then, \w{12} now.*Restore them"):
        prepare_resume("drift", workspace, Observer())


def test_a_resume_is_proposed_with_what_was_typed_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    asked = Request(DIGITS, "shufflenet_v2_x0_5", "none", 32, trials=6, finals_seeds=2, name="here")
    prepare_search(asked, workspace, Observer()).study.close()
    for more, proposed in (
        ({"metric": "macro_f1", "trials": None, "finals_seeds": None}, "frostline resume here --workspace"),
        ({"trials": 9}, "frostline resume here --trials 9 --workspace"),
        ({"trials": 9, "finals_seeds": 3}, "frostline resume here --trials 9 --seeds 3 --workspace"),
    ):
        with pytest.raises(InvalidInputError) as refusal:
            prepare_search(replace(asked, **more), workspace, Observer())
        assert proposed in str(refusal.value)


@pytest.mark.parametrize(
    "uri", ["http://anna:hunter2@127.0.0.1:9", "https://hunter2@mlflow.example/base?token=hunter2"]
)
def test_no_password_of_an_mlflow_is_kept(tmp_path: Path, uri: str) -> None:
    message = refused(tmp_path, *with_option("--tracking-uri", uri))
    assert "MLFLOW_TRACKING_PASSWORD" in message
    assert "hunter2" not in message


def test_no_password_of_a_store_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_ARTIFACTS", "memory://anna:hunter2@host/bucket?token=hunter2")
    message = refused(tmp_path, DIGITS, *GOOD)
    assert "--artifacts memory://host/bucket" in message
    assert "hunter2" not in message


def test_more_probabilities_than_the_database_should_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 477 test images and 3 classes.
    monkeypatch.setattr(checks, "MAX_PROBABILITIES", 3 * 477 - 1)
    assert "477 test images and 3 classes: each final" in refused(tmp_path, DIGITS, *GOOD)
    monkeypatch.undo()
    assert "10,000 test images and 10,000 classes" in checks.size_faults(10_000, 10_000)[0]
    assert "at most 256 are kept" in checks.size_faults(10_000, 10_000)[0]
