"""Networks whose own forward reads ``self.training``: they follow ``train()`` as graphs, or a note says why not."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

from frostline.objectives.backbones.backbone import cut
from frostline.objectives.backbones.cuts import find_cuts, segment
from frostline.objectives.backbones.trace_notes import notes_of
from frostline.objectives.backbones.tracing import trace
from frostline.objectives.config import HeadConfig
from frostline.objectives.networks import Network, create_head
from frostline.objectives.phases import Phase


class Net(nn.Module):
    """Two convolutions and a norm; subclasses say what lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.norm(self.first(x))))


class Keyword(Net):
    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=self.training)


class Positional(Net):
    def between(self, x: Tensor) -> Tensor:
        return F.dropout2d(F.relu(x), 0.5, self.training)


class InComprehension(Net):
    def between(self, x: Tensor) -> Tensor:
        return sum([F.dropout(part, 0.5, self.training) for part in (x, -0.5 * x)])  # type: ignore[return-value]


class Normed(Net):
    def between(self, x: Tensor) -> Tensor:
        statistics = self.norm.running_mean, self.norm.running_var
        return F.batch_norm(x, *statistics, training=self.training, momentum=0.0)


class ByProperty(Net):
    @property
    def rate(self) -> float:
        return self.training * 0.5

    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training) * (1 + self.rate)


class Wrapper(nn.Module):
    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net or Keyword()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


FOLLOWED = (Keyword, Positional, InComprehension, Normed, ByProperty, Wrapper)


def images() -> Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def run(network: nn.Module, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return network(images())


@pytest.mark.parametrize("make", FOLLOWED)
def test_the_graph_computes_what_the_network_computes_in_both_modes(make: Callable[[], nn.Module]) -> None:
    model = make()
    traced = trace(model.eval(), 8)
    assert notes_of(traced).sentences == ()
    assert (type(model), model.training) == (make, False)
    cuts = find_cuts(traced, 8)
    assert len(cuts) > 4
    for training in (True, False, True):
        expected = run(model.train(training))
        assert torch.equal(run(traced.train(training)), expected)
        for at in cuts[1:-1]:
            parts = nn.Sequential(segment(traced, cuts[0], at), segment(traced, at, cuts[-1])).train(training)
            assert torch.equal(run(parts), expected)
    assert not torch.equal(run(model.train()), run(model.eval()))


def test_what_is_frozen_does_not_drop_and_what_trains_does() -> None:
    backbone = cut("keyword", Keyword().eval(), 8)
    units = len(backbone.units)
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, 3)
    trained = Network(backbone, Phase("full", 0, 1, 0.1, (0.1,) * units), head)
    assert not torch.equal(run(trained.train(), seed=1), run(trained, seed=2))
    assert torch.equal(run(trained.eval(), seed=1), run(trained, seed=2))
    frozen = Network(backbone, Phase("head", units, 1, 0.1), head)
    assert torch.equal(run(frozen.train(), seed=1), run(frozen, seed=2))


# What a graph cannot follow


class Branches(Net):
    def between(self, x: Tensor) -> Tensor:
        return 2 * x if self.training else x


class AnothersMode(Net):
    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.norm.training)


class AsNumber(Net):
    def between(self, x: Tensor) -> Tensor:
        return x * float(self.training) + x


class Undone(Net):
    """Cannot be traced, but is a chain of its children in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        return self.second(F.dropout(x, 0.5, self.training) if x.abs().sum() > -1 else x)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Branches, "a graph has no branches, and it branches on a mode"),
        (lambda: Wrapper(Branches()), "a graph has no branches, and it branches on a mode"),
        (AnothersMode, "or reads that of another module"),
        (AsNumber, r"a graph cannot hold how it uses self.training \("),
        (Undone, "it runs as a chain of its children"),
    ],
)
def test_what_cannot_be_followed_is_said(make: Callable[[], nn.Module], reason: str) -> None:
    model = make().eval()
    traced = trace(model, 8)
    (said,) = [note for note in notes_of(traced).sentences if "in training what it does in evaluation" in note]
    assert re.search(reason, said)
    assert "a module of its own" in said
    assert torch.equal(run(traced.eval()), run(model.eval()))


class Auxiliary(Net):
    """As torchvision's GoogLeNet: the branch gives nothing that is used."""

    def between(self, x: Tensor) -> Tensor:
        if self.training and getattr(self, "aux", None) is not None:
            return x + 1
        return x


@pytest.mark.parametrize("name", ["auxiliary", "googlenet"])
def test_a_branch_that_changes_nothing_is_not_mentioned(name: str) -> None:
    options = {"weights": None, "init_weights": False, "aux_logits": False}
    model = Auxiliary() if name == "auxiliary" else get_model(name, **options)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    traced = trace(model.eval(), 64)
    assert notes_of(traced).sentences == ()
    assert not [node for node in traced.graph.nodes if "training" in str(node.target)]
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
