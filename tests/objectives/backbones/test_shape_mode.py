from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from frostline.objectives.backbones.shape_mode import ShapeMode


class Network(nn.Module):
    """Each way to normalize, between layers with parameters, and a mix of memory formats."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.batch = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)
        self.layer, self.group, self.linear = nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group(self.batch(self.conv(x)))
        x = F.batch_norm(x, torch.zeros(4), torch.ones(4), training=False)
        x = F.instance_norm(x) + F.layer_norm(x, list(x.shape[1:]))
        return self.linear(self.layer(x.permute(0, 2, 3, 1))).flatten(1, 2)


@torch.no_grad()
def test_shapes_are_those_of_data_however_often_it_is_entered() -> None:
    model, mode = Network().eval(), ShapeMode()
    x = torch.rand(2, 3, 9, 9)
    expected = model(x)
    for _ in range(2):
        with mode:
            given = model(torch.empty(2, 3, 9, 9))
        assert isinstance(given, FakeTensor)
        assert (given.shape, given.stride(), given.dtype) == (expected.shape, expected.stride(), expected.dtype)
    assert torch.equal(model(x), expected), "the network itself has changed"


@pytest.mark.parametrize(
    ("norm", "shape"),
    [(nn.BatchNorm2d(4), (2, 5, 3, 3)), (nn.LayerNorm([4, 3, 3]), (2, 4, 5, 5)), (nn.LayerNorm(4), (2, 5))],
)
@torch.no_grad()
def test_a_norm_refuses_what_it_refuses_with_data(norm: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError):
        norm.eval()(torch.rand(shape))
    with ShapeMode(), pytest.raises(RuntimeError):
        norm(torch.empty(shape))


@torch.no_grad()
def test_a_batch_norm_in_training_refuses_a_single_value_per_channel() -> None:
    with ShapeMode(), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(4).train()(torch.empty(1, 4, 1, 1))
