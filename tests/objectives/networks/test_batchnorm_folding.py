"""Batch norms as part of convolutions: the same function, up to rounding, of the weights as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import DenseNet

from frostline.objectives.backbones.backbone import Backbone, create_backbone, cut
from frostline.objectives.config import BackboneSpec
from frostline.objectives.networks import batchnorm_folding
from frostline.objectives.networks.batchnorm_folding import FoldedConvolution, fold, fold_in_training
from frostline.objectives.networks.frozen_prefix import FrozenPrefix


def stirred(network: nn.Module) -> nn.Module:
    """With statistics, scales and shifts as after a training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                assert module.running_var is not None
                module.running_mean.copy_(0.2 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
                if module.affine:
                    module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
                    module.bias.copy_(0.2 * torch.randn(module.bias.shape, generator=generator))
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-5 * other.abs().max())


def built(name: str) -> Backbone:
    # As densenet121, with one layer in each of its blocks.
    small = DenseNet(8, (1, 1, 1, 1), 8).eval()
    return cut(name, small, 64) if name == "densenet" else create_backbone(BackboneSpec(name, "none", 64))


@pytest.mark.parametrize(
    ("name", "left"),
    [("resnet18", 0), ("mobilenet_v3_small", 0), ("shufflenet_v2_x0_5", 0), ("squeezenet1_1", 0), ("densenet", 12)],
)
def test_features_are_the_same_up_to_rounding(name: str, left: int) -> None:
    backbone = built(name)
    whole = stirred(backbone.segment(0, len(backbone.units)))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        folded = fold(whole)
        assert close(folded(images), whole(images))
    # What is kept whole, for it cannot be traced, stays.
    assert norms(folded) == left
    assert norms(whole) > 0 or name == "squeezenet1_1"


class WithActivation(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


class Standardised(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.conv2d(input, self.weight / self.weight.std(), self.bias)


class Odd(nn.Module):
    """Norms that must stay, and one that may go."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.forked = nn.Conv2d(4, 4, 1)
        self.aside = nn.BatchNorm2d(4)
        self.batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.shared = nn.Conv2d(4, 4, 1)
        self.one, self.two = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.before_active, self.active = nn.Conv2d(4, 4, 1), WithActivation(4)
        self.standardised, self.behind = Standardised(4, 4, 1), nn.BatchNorm2d(4)
        self.transposed, self.after = nn.ConvTranspose2d(4, 4, 1), nn.BatchNorm2d(4)
        self.weighted, self.last = nn.utils.spectral_norm(nn.Conv2d(4, 4, 1)), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.plain(self.first(images))
        fork = self.forked(features)
        features = fork + self.aside(fork)
        features = self.one(input=self.shared(features)) + self.two(self.shared(features))
        features = self.active(self.before_active(self.batch(self.shared(features))))
        features = self.after(self.transposed(self.behind(self.standardised(features))))
        return self.last(self.weighted(features))


class Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, Odd)


def test_only_a_norm_of_its_own_statistics_behind_a_convolution_of_its_own_is_folded() -> None:
    odd = stirred(Odd())
    network = fx.GraphModule(odd, Tracer().trace(odd))
    images = torch.randn(5, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    folded = fold(network)
    assert close(folded(images), network(images))
    left = {name for name, module in folded.named_modules() if isinstance(module, _BatchNorm)}
    assert left == {"aside", "batch", "active", "behind", "after", "last"}
    assert norms(network) == 9


def test_what_is_no_graph_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    assert fold(network) is network


def test_a_prefix_runs_with_the_weights_that_it_has_now() -> None:
    backbone = create_backbone(BackboneSpec("resnet18", "none", 64))
    prefix = FrozenPrefix(backbone.segment(0, 2), 2)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    names, before = set(prefix.state_dict()), prefix(images)
    assert torch.equal(prefix(images), before)
    stirred(backbone.model)
    with torch.no_grad():
        assert close(prefix(images), backbone.segment(0, 2)(images))
        assert not close(prefix(images), before)
        for parameter in prefix.parameters():
            parameter.data = parameter.data * 2
        assert close(prefix(images), backbone.segment(0, 2)(images))
    assert set(prefix.state_dict()) == names
    assert norms(prefix) > 0


def trained_step(unit: nn.Module, run: nn.Module, features: Tensor) -> dict[str, Tensor]:
    """Output and gradients of a step of a unit, as another module computes them."""
    unit.zero_grad()
    given = features.clone().requires_grad_()
    output = run(given)
    (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum().backward()
    found = {name: value.grad.clone() for name, value in unit.named_parameters() if value.grad is not None}
    assert given.grad is not None
    return {**found, "output": output.detach(), "input": given.grad}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11_bn"])
def test_a_folded_step_has_the_gradients_of_the_plain_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Features this small are not folded otherwise.
    for least in ("_MIN_OUTPUT", "_MIN_RATIO"):
        monkeypatch.setattr(batchnorm_folding, least, 0)
    backbone = create_backbone(BackboneSpec(name, "none", 32))
    unit = stirred(backbone.segment(0, 3)).double()
    assert isinstance(unit, fx.GraphModule)
    folded = fold_in_training(unit)
    assert any(isinstance(module, FoldedConvolution) for module in folded.modules())
    features = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = {key: value.clone() for key, value in unit.state_dict().items()}
    plain, ours = (trained_step(unit, run, features) for run in (unit, folded))
    assert plain.keys() == ours.keys() == {*dict(unit.named_parameters()), "output", "input"}
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in unit.state_dict().items())


@pytest.mark.parametrize(
    ("shape", "stride", "pays"),
    [((32, 8, 48, 48), 1, True), ((32, 8, 48, 48), 2, False), ((8, 8, 48, 48), 1, False)],
)
def test_small_outputs_are_not_folded(shape: tuple[int, ...], stride: int, pays: bool) -> None:
    convolution, norm = nn.Conv2d(8, 8, 3, stride, padding=1), nn.BatchNorm2d(8)
    pair, folded = stirred(nn.Sequential(convolution, norm)), FoldedConvolution(convolution, norm)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    # Folded, it rounds otherwise.
    assert torch.equal(folded(features), pair(features)) != pays
    assert close(folded(features), pair(features))


def test_a_norm_that_trains_after_a_frozen_convolution_is_not_folded() -> None:
    unit = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval())
    unit.get_submodule("0").requires_grad_(False)
    assert not any(isinstance(module, FoldedConvolution) for module in fold_in_training(unit).modules())
    unit.requires_grad_(False)
    assert any(isinstance(module, FoldedConvolution) for module in fold_in_training(unit).modules())


def test_a_folded_unit_follows_the_mode_of_its_dropout() -> None:
    unit = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4).eval(), nn.Dropout(0.5)).eval())
    folded, ones = fold_in_training(unit), torch.ones(1, 3, 4, 4)
    assert close(folded(ones), unit(ones))
    unit.get_submodule("2").train()
    assert (folded(ones) == 0).any()
