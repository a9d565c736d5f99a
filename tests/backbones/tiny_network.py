"""Small backbones: one of a few units for whole searches, one of many for tests of what is frozen and shared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (*[8] * 4, *[24] * 2)
MANY_WIDTHS = (*[8] * 14, *[24] * 3)


class Block(nn.Module):
    """A convolution, batch norm and ReLU, added to what came in; between two widths, maps of half the size.

    Args:
        before: Channels that come in.
        width: Channels that go out.
        kernel: Size of the convolution: 1 or 3.
    """

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        self.added = before == width
        stride = 1 if self.added else 2
        self.conv = nn.Conv2d(before, width, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.conv(x)))
        # Small steps: values stay of the size of the first, through all blocks.
        return x + 0.25 * y if self.added else y


class TinyNetwork(nn.Module):
    """A stem that leaves maps of an eighth of the image, and blocks: first most operations, last most parameters.

    Args:
        num_classes: Outputs.
        widths: Channels of each block.
    """

    def __init__(self, num_classes: int = 1000, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        first, last = widths[0], widths[-1]
        self.stem = nn.Sequential(nn.Conv2d(3, first, 4, 4), nn.BatchNorm2d(first), nn.ReLU(), nn.MaxPool2d(2))
        self.blocks = nn.Sequential(
            *(
                Block(before, width, kernel=1 + 2 * (place % 2))
                for place, (before, width) in enumerate(zip((first, *widths), widths, strict=False))
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))


def create(num_classes: int = 1000) -> TinyNetwork:
    """The factory."""
    return TinyNetwork(num_classes)


def create_many_units(num_classes: int = 1000) -> TinyNetwork:
    """The factory of a network of 18 units."""
    return TinyNetwork(num_classes, MANY_WIDTHS)


class Tokens(nn.Module):
    """Patches as tokens behind a class token, with positions: images of 32 px to (N, 17, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token, self.positions = nn.Parameter(torch.empty(1, 1, width)), nn.Parameter(torch.empty(1, 17, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.token)
        nn.init.normal_(self.positions, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1) + self.positions


class Layer(nn.Module):
    """A layer of a transformer, with its norms before attention and hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.hidden(self.between(x))


class TinyTransformer(nn.Module):
    """Tokens, three layers and a norm; the class token is classified."""

    def __init__(self, num_classes: int = 1000, width: int = 16) -> None:
        super().__init__()
        self.tokens = Tokens(width)
        self.layers = nn.Sequential(*(Layer(width) for _ in range(3)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.layers(self.tokens(x)))[:, 0])


def create_transformer(num_classes: int = 1000) -> TinyTransformer:
    """The factory of a transformer of 4 units."""
    return TinyTransformer(num_classes)
