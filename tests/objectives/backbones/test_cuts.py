from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torchvision.models import DenseNet, SwinTransformer, get_model

from frostline.objectives.backbones.cuts import Cut, find_cuts, live_values, module_path, segment
from frostline.objectives.backbones.tracing import trace


class Branching(nn.Module):
    """Two convolutions with a skip over the second, an in-place activation, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.full((4, 1, 1), 2.0))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        x = x + self.second(x)
        return self.drop(self.relu(x) * self.scale)


class ReadsMode(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if self.training else x


@pytest.fixture
def traced() -> fx.GraphModule:
    return trace(Branching().eval(), 8)


def middle(cuts: list[Cut]) -> Cut:
    return next(cut for cut in cuts if cut.value == "norm")


def test_cuts_where_one_tensor_lives_and_nobody_writes_to_it(traced: fx.GraphModule) -> None:
    cuts = find_cuts(traced, 8)
    # Not `second` (x lives too) and not `add` (the activation writes to it).
    assert [cut.value for cut in cuts] == ["x", "first", "norm", "relu", "mul", "drop"]
    assert cuts[0] == Cut(0, "x", (3, 8, 8), 0)
    assert cuts[-1].shape == (4, 8, 8)
    assert cuts[-1].flops == 2 * 64 * 9 * (3 * 4 + 4 * 4)


def test_halves_make_the_whole(traced: fx.GraphModule) -> None:
    cuts, x = find_cuts(traced, 8), torch.rand(2, 3, 8, 8)
    whole = traced(x)
    for cut in cuts:
        assert torch.equal(segment(traced, cut, cuts[-1])(segment(traced, cuts[0], cut)(x)), whole)


def test_a_segment_holds_what_it_uses_and_shares_it(traced: fx.GraphModule) -> None:
    cuts = find_cuts(traced, 8)
    prefix, suffix = segment(traced, cuts[0], middle(cuts)), segment(traced, middle(cuts), cuts[-1])
    assert list(dict(prefix.named_parameters())) == ["first.weight", "first.bias", "norm.weight", "norm.bias"]
    assert set(dict(suffix.named_parameters())) == {"second.weight", "second.bias", "scale"}
    assert prefix.get_parameter("first.weight") is traced.get_parameter("first.weight")


def test_modes(traced: fx.GraphModule) -> None:
    cuts, x = find_cuts(traced, 8), torch.rand(4, 3, 8, 8)
    prefix, suffix = segment(traced, cuts[0], middle(cuts)), segment(traced, middle(cuts), cuts[-1])
    assert not any(module.training for module in prefix.modules())
    before = prefix.get_buffer("norm.running_mean").clone()
    features = prefix(x)
    assert torch.equal(prefix.get_buffer("norm.running_mean"), before)
    assert torch.equal(suffix(features), suffix(features))
    suffix.train()
    assert not torch.equal(suffix(features), suffix(features)), "dropout is off in training mode"
    prefix.train()(x)
    assert not torch.equal(prefix.get_buffer("norm.running_mean"), before)


def test_making_a_segment_changes_no_mode(traced: fx.GraphModule) -> None:
    cuts = find_cuts(traced, 8)
    suffix = segment(traced, middle(cuts), cuts[-1]).train()
    segment(traced, cuts[0], cuts[-1])
    assert all(module.training for module in suffix.modules())
    assert not traced.get_submodule("norm").training


def test_a_module_that_reads_its_mode_follows_it() -> None:
    traced = trace(nn.Sequential(nn.Identity(), ReadsMode()).eval(), 8)
    x = torch.zeros(1)
    assert traced(x) == 0
    assert traced.train()(x) == 1


def small_swin() -> nn.Module:
    return SwinTransformer([4, 4], 16, [1, 2], [2, 2], [7, 7], stochastic_depth_prob=0.5)


@pytest.mark.parametrize(
    "make",
    [
        small_swin,
        lambda: DenseNet(8, (1, 1, 1, 1), 8, drop_rate=0.5),
        lambda: get_model("efficientnet_b0", weights=None),
    ],
    ids=["swin", "densenet", "efficientnet_b0"],
)
def test_dropout_and_stochastic_depth_stay_live(make: Callable[[], nn.Module]) -> None:
    traced = trace(make().eval(), 32)
    cuts = find_cuts(traced, 32)
    suffix, x = segment(traced, cuts[0], cuts[-2]), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(suffix(x), suffix(x))
        suffix.train()
        assert not torch.equal(suffix(x), suffix(x))


@pytest.mark.parametrize(
    "make", [small_swin, lambda: get_model("shufflenet_v2_x0_5", weights=None)], ids=["swin", "shufflenet_v2_x0_5"]
)
def test_segments_copy_and_pickle(make: Callable[[], nn.Module]) -> None:
    traced = trace(make().eval(), 32)
    cuts = find_cuts(traced, 32)
    part, x = segment(traced, cuts[0], cuts[len(cuts) // 2]), torch.rand(2, 3, 32, 32)
    for twin in (copy.deepcopy(part), pickle.loads(pickle.dumps(part))):  # noqa: S301
        assert torch.equal(twin(x), part(x))
        assert list(twin.state_dict()) == list(part.state_dict())
        assert next(twin.parameters()) is not next(part.parameters())


def test_finding_cuts_leaves_mode_weights_and_statistics_alone() -> None:
    model = Branching().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fastpath = torch.backends.mha.get_fastpath_enabled()
    find_cuts(trace(model, 8), 8)
    assert model.training
    assert model.norm.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled() == fastpath


def test_module_path() -> None:
    traced = trace(nn.Sequential(nn.Sequential(nn.ReLU())), 8)
    assert [module_path(node) for node in traced.graph.nodes] == ["", "0.0", ""]


@st.composite
def graphs(draw: st.DrawFn) -> fx.Graph:
    """Up to a dozen additions of earlier values, parameters among them; the last one is returned."""
    graph = fx.Graph()
    values = [graph.placeholder("x")]
    for index in range(draw(st.integers(1, 12))):
        if draw(st.booleans()) and draw(st.booleans()):
            values.append(graph.get_attr(f"p{index}"))
        else:
            pair = draw(st.tuples(*[st.sampled_from(values)] * 2))
            values.append(graph.call_function(operator.add, pair))
    graph.output(values[-1])
    return graph


def runs_from(nodes: list[fx.Node], position: int, known: set[fx.Node]) -> bool:
    """Whether the nodes after a position can run when only these values are known before it."""
    known = known | {node for node in nodes if node.op == "get_attr"}
    for node in nodes[position + 1 :]:
        if not known.issuperset(node.all_input_nodes):
            return False
        known.add(node)
    return True


@given(graphs())
def test_live_values_are_the_least_that_the_rest_can_run_from(graph: fx.Graph) -> None:
    nodes = list(graph.nodes)
    for position, live in enumerate(live_values(graph)):
        assert live <= set(nodes[: position + 1])
        assert runs_from(nodes, position, live)
        assert not any(runs_from(nodes, position, live - {value}) for value in live)
