"""Networks of users that are unlike torchvision's: they train as they are, or are refused with what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.utils import parametrize
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.backbones import create_backbone
from frostline.objectives.backbones.model_sources import model_source
from frostline.objectives.config import BackboneSpec, HeadConfig, create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import FinetuneResult, finetune
from frostline.objectives.networks import BackbonePool
from frostline.objectives.networks.export import ModelCard, load_network, save_network

from ..tiny import PREPROCESSING, task

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
PARAMETRIZED = ["weight_normed", "spectral_normed", "orthogonal"]
BY_HOOKS = ["weight_normed_by_hooks", "spectral_normed_by_hooks"]
CAST = ["half", "bfloat16", "double"]


def spec(name: str, weights: str = "DEFAULT", size: int = 32) -> BackboneSpec:
    return BackboneSpec(f"odd_networks:{name}", weights, size)


def train(pool: BackbonePool, strategy: str) -> FinetuneResult:
    values = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2}
    return finetune(create_config({"strategy": strategy, **values}), replace(task(), backbones=pool), seed=0)


# What trains


@pytest.mark.parametrize("name", [*PARAMETRIZED, *BY_HOOKS, *CAST, "wrapped_gray"])
def test_it_trains_again_and_again_with_the_same_numbers(name: str) -> None:
    pool = BackbonePool(spec(name))
    results = [train(pool, strategy) for strategy in ("full", "feature_extraction", "full")]
    losses = [[epoch.val_loss for epoch in result.epochs] for result in results]
    assert losses[0] == losses[2]
    assert all(certificate.passed for result in results for certificate in result.certificates)


@pytest.mark.parametrize("name", PARAMETRIZED)
def test_the_networks_own_parametrizations_stay(name: str, tmp_path: Path) -> None:
    pool = BackbonePool(spec(name))
    result = train(pool, "full")
    assert parametrize.is_parametrized(pool.pretrained.model.get_submodule("first"))
    units = len(pool.pretrained.units)
    card = ModelCard(
        backbone=spec(name).name,
        pretrained=True,
        truncate=0,
        freeze_depth=0,
        head=HeadConfig(),
        classes=("red", "green", "blue"),
        preprocessing=PREPROCESSING,
    )
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = result.network(images)
    save_network(tmp_path / "kept", result.network, card)
    assert torch.equal(load_network(tmp_path / "kept", "cpu").network(images), expected)
    assert units > 1


@pytest.mark.parametrize("name", ["half", "bfloat16", "double"])
def test_other_precisions_become_float32_with_the_values_they_had(name: str) -> None:
    torch.manual_seed(0)
    model = model_source(f"odd_networks:{name}").create(32, "DEFAULT")
    torch.manual_seed(0)
    module = __import__("odd_networks")
    original = getattr(module, name)()
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    for own, theirs in zip(model.parameters(), original.parameters(), strict=True):
        assert torch.equal(own, theirs.float())


@pytest.mark.parametrize("name", ["weight_normed", "spectral_normed", "orthogonal"])
def test_random_weights_of_parametrized_layers_are_drawn_through_their_parametrization(name: str) -> None:
    def drawn(seed: int) -> torch.Tensor:
        return create_backbone(spec(name, "none"), seed=seed).model.get_submodule("output").weight.detach().clone()  # type: ignore[operator, union-attr]

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.allclose(drawn(0), drawn(1))
    if name == "orthogonal":
        torch.testing.assert_close(drawn(1) @ drawn(1).T, torch.eye(5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", BY_HOOKS)
def test_weights_that_hooks_compute_are_not_taken_for_drawn(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot start from random weights: .*leave out the strategy scratch"):
        create_backbone(spec(name, "none"))


# What is refused


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scripted", "returns a TorchScript module, .* Return the network that it was made from"),
        ("traced", "returns a TorchScript module, .* Return the network that it was made from"),
        ("with_script", r"returns a network with a TorchScript module \(body\)"),
        ("compiled", r"Return the network itself, without torch\.compile"),
        ("quantized", "returns a quantized network .* from before it was quantized"),
        ("lazy", r"lazy layers: 0\.weight has no shape yet\. Run it once"),
        ("without_values", r"on the meta device: first\.weight has no values"),
        ("of_inference", r"inference_mode\(\): first\.weight cannot train"),
        ("gray", r"takes images of 1 channel, .*Add --channels 1 .*, or wrap it .* x\.mean\(dim=1, keepdim=True\)"),
        ("four_channels", "takes images of 4 channels, .*an image of 4 channels made from x"),
        ("Flat", r"cannot take images of 32 px: .*\. Give another --image-size, such as 28\."),
    ],
)
def test_what_cannot_train_is_refused_with_what_to_do(
    name: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        create_backbone(spec(name))
    assert ("--image-size" in str(caught.value)) is (name == "Flat")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["Scaled", *BY_HOOKS])
def test_the_units_are_shown_of_what_a_search_takes(name: str) -> None:
    """A search without the strategy scratch draws no weights, so a list of the units needs none either."""
    shown = CliRunner().invoke(app, ["backbones", f"odd_networks:{name}", "--image-size", "32"], obj=TerminalViews())
    assert shown.exit_code == 0, shown.output
    assert "what freezing up to and including a unit freezes" in " ".join(shown.output.split())
