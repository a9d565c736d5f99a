"""Networks that users write: what is cut, what is kept whole, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torchvision.models import DenseNet, SwinTransformer, VisionTransformer, get_model

from frostline.objectives.backbones.backbone import Backbone, cut
from frostline.objectives.backbones.trace_notes import TraceNotes
from frostline.objectives.config import HeadConfig
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks.heads import create_head

from .. import zoo

SIZE = 16


def units_of(backbone: Backbone) -> list[str]:
    return [unit.name for unit in backbone.units]


def headless(make: Callable[[], nn.Sequential], dropped: int) -> Callable[[], nn.Sequential]:
    return lambda: make()[:-dropped]


RESNET20 = ["conv1", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2))]

CASES: dict[str, tuple[Callable[[], nn.Module], list[str], tuple[int, ...]]] = {
    "plain": (zoo.plain, ["0", "3"], (8, 8, 8)),
    "wrapper": (lambda: zoo.Wrapper(zoo.plain()), ["net.0", "net.3"], (8, 8, 8)),
    "wrappers": (lambda: zoo.Wrapper(zoo.Wrapper(zoo.plain())), ["net.net.0", "net.net.3"], (8, 8, 8)),
    "residual": (zoo.CifarResNet20, RESNET20, (64, 4, 4)),
    "map at the end": (headless(zoo.plain, 3), ["0", "3"], (8, 8, 8)),
    "pooled at the end": (headless(zoo.plain, 1), ["0", "3"], (8, 8, 8)),
    "two branches": (zoo.TwoBranches, ["stem", "left", "join"], (8, SIZE, SIZE)),
    "a block that cannot be traced": (zoo.with_data_dependent_block, ["0", "1", "2"], (8, SIZE, SIZE)),
    "a chain that cannot be traced": (zoo.CheckedChain, ["stem", "body.0", "body.1"], (8, 8, 8)),
    "a wrapped chain": (lambda: zoo.Wrapper(zoo.CheckedChain()), ["net.stem", "net.body.0", "net.body.1"], (8, 8, 8)),
    "an optional input": (zoo.OptionalInput, ["conv"], (4, SIZE, SIZE)),
    "shared weights": (zoo.SharedWeights, ["stem", "block", "last"], (4, SIZE, SIZE)),
    "sizes everywhere": (zoo.SizesEverywhere, ["first", "second"], (4, SIZE, SIZE)),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_parts_make_the_whole(case: str) -> None:
    make, units, end = CASES[case]
    model = make().eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    backbone = cut(case, model, SIZE)
    assert units_of(backbone) == units
    assert backbone.units[-1].output_shape == end
    for count in (2, 7):
        images = torch.randn(count, 3, SIZE, SIZE)
        whole = model(images.clone())
        for depth in range(len(units) + 1):
            assert torch.equal(backbone.segment(depth)(backbone.segment(0, depth)(images)), whole)
    parts = [backbone.segment(unit, unit + 1) for unit in range(len(units))] + [backbone.segment(len(units))]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    assert len(parameters) == len(set(parameters)) == len(list(model.parameters()))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_block_that_cannot_be_traced_still_decides_by_the_data() -> None:
    backbone = cut("block", zoo.with_data_dependent_block().eval(), SIZE)
    block = backbone.segment(1, 2)
    images = torch.rand(2, 4, SIZE, SIZE)
    inner = backbone.model.get_submodule("1")
    assert isinstance(inner, zoo.DataDependent)
    assert torch.equal(block(images), inner.one(images))
    assert torch.equal(block(-images), inner.other(-images))


def test_the_reasons_of_a_slow_way_are_kept() -> None:
    notes = cut("block", zoo.with_data_dependent_block().eval(), SIZE).notes
    assert list(notes.kept_whole) == ["1"]
    assert "control flow" in notes.kept_whole["1"]
    assert notes.real_data
    assert notes.chain == ""
    assert [sentence.split(",")[0] for sentence in notes.sentences] == [
        "1 is kept whole",
        "It was measured with real data",
    ]
    chain = cut("chain", zoo.CheckedChain().eval(), SIZE).notes
    assert "control flow" in chain.chain
    assert chain.kept_whole == {}
    (sentence,) = chain.sentences
    assert sentence.startswith("The network runs as a chain of its children, because torch.fx cannot trace it: ")


# One network of each mechanism: a release of torch that cannot trace one of them makes it slow without an error.
COMPLETE: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "residual": (16, zoo.CifarResNet20),
    "sizes everywhere": (16, zoo.SizesEverywhere),
    "shared weights": (16, zoo.SharedWeights),
    "densenet": (32, lambda: DenseNet(8, (1, 1, 1, 1), 8)),
    "swin": (32, lambda: SwinTransformer([4, 4], 16, [1, 2], [2, 2], [7, 7])),
    "vit": (32, lambda: VisionTransformer(32, 16, 2, 2, 16, 32)),
    "shufflenet": (32, lambda: get_model("shufflenet_v2_x0_5", weights=None)),
    "mobilenet": (32, lambda: get_model("mobilenet_v3_small", weights=None)),
    "squeezenet": (32, lambda: get_model("squeezenet1_1", weights=None)),
    "timm resnet": (64, lambda: timm.create_model("resnet10t")),
    "timm vit": (160, lambda: timm.create_model("test_vit")),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_networks_of_every_family_are_traced_completely(name: str) -> None:
    size, make = COMPLETE[name]
    assert cut(name, make().eval(), size).notes == TraceNotes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (zoo.TwoInputs, "TwoInputs takes x, mask; a backbone takes images alone"),
        (zoo.TwoOutputs, "returns a dict, not one tensor"),
        (zoo.Tangled, r"torch.fx cannot trace its forward \(.*control flow.*children in order do not give its output"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 5)),
            "between its input and its classifier there is no point",
        ),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(7, 7), nn.Linear(7, 5)), "cannot take images of 16 px"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        cut("net", make().eval(), SIZE)


def test_what_forwards_keep_in_their_modules_is_as_before() -> None:
    class Remembers(zoo.TwoBranches):
        seen: object = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = x
            return super().forward(x)

    model = Remembers().eval()
    cut("remembers", model, SIZE)
    assert model.seen is None


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
def test_features_with_the_channels_last_are_pooled_over_the_places(shape: tuple[int, ...]) -> None:
    features = torch.randn(2, *shape)
    head = create_head(HeadConfig(), shape, 3)
    assert torch.allclose(head[:-1](features), features.flatten(1, -2).mean(1), atol=1e-6)
    assert create_head(HeadConfig(pooling="flatten"), shape, 3)(features).shape == (2, 3)
    assert create_head(HeadConfig(pooling="avgmax"), shape, 3)(features).shape == (2, 3)
