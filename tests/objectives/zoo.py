"""Small networks as users write them; ``frostline.objectives`` knows none of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)


def plain() -> nn.Sequential:
    layers = [conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 8, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


class Wrapper(nn.Module):
    """A single child does it all."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class CifarBlock(nn.Module):
    """Two convolutions; a shortcut that pads with zeros (He et al. 2016, section 4.2, option A)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels_in, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels), nn.BatchNorm2d(channels)
        self.stride, self.added = stride, channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added // 2)))


class CifarResNet20(nn.Module):
    """He et al. 2016, section 4.2, n = 3."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = self.stage(16, 16, 1), self.stage(16, 32, 2), self.stage(32, 64, 2)
        self.linear = nn.Linear(64, num_classes)

    def stage(self, channels_in: int, channels: int, stride: int) -> nn.Sequential:
        first = CifarBlock(channels_in, channels, stride)
        return nn.Sequential(first, *(CifarBlock(channels, channels, 1) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.avg_pool2d(x, x.shape[-1]).flatten(1))


class TwoBranches(nn.Module):
    """Two paths over the same stem, joined before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = conv(3, 4), conv(4, 4), conv(4, 4)
        self.join, self.fc = conv(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.join(torch.cat([self.left(x), self.right(x)], dim=1))
        return self.fc(x.mean(dim=(2, 3)))


class DataDependent(nn.Module):
    """Which way depends on the images."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = conv(4, 4), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) if x.mean() > 0 else self.other(x)


def with_data_dependent_block() -> nn.Sequential:
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    return nn.Sequential(conv(3, 4), DataDependent(), conv(4, 8), nn.ReLU(), *pool)


class CheckedChain(nn.Module):
    """Children in order, in a forward that looks at the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4), nn.ReLU())
        self.body = nn.Sequential(CifarBlock(4, 8, 2), CifarBlock(8, 8, 1))
        self.pool, self.flat, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().any():
            raise ValueError("not a number")
        return self.fc(self.flat(self.pool(self.body(self.stem(x)))))


class Tangled(CheckedChain):
    """Untraceable, and its children are no chain."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.conv(x * mask)


class OptionalInput(TwoInputs):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.conv(x if mask is None else x * mask)


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"features": self.conv(x)}


class SharedWeights(nn.Module):
    """The same block twice: between the two runs nothing can be frozen alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.last, self.fc = conv(3, 4), conv(4, 4), conv(4, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.block(self.stem(x)).relu()).relu()
        return self.fc(self.last(x).mean(dim=(2, 3)))


class SizesEverywhere(nn.Module):
    """Asks for sizes, branches on them, and keeps the number of images until the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = conv(3, 4), conv(4, 4), nn.Linear(4, 5)
        self.register_buffer("offset", torch.arange(4.0).view(1, 4, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        offset = self.get_buffer("offset") * 2
        x = self.first(x) + offset
        if height % 2 or len(x.shape) != 4:
            x = F.pad(x, (0, height % 2))
        for _ in range(x.size(1) // 4):
            x = self.second(x) + offset
        rows = x.reshape(n, 4, height * width)
        return self.fc(rows.mean(-1).view(n, 4))
