"""A small network on patches of the image: an embedding with a class token and positions, and blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 16


class Embedding(nn.Module):
    """Tokens (N, 17, 16) of images (N, 3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.empty(1, 17, WIDTH))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for value in (self.token, self.positions):
            nn.init.normal_(value, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions


class Block(nn.Module):
    """Tokens get a share of their mean, and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix, self.layer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.layer(torch.relu(y + self.mix(y.mean(dim=1, keepdim=True))))


class PatchNetwork(nn.Module):
    """The embedding, three blocks, and a classifier on the class token."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.embedding = Embedding()
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.fc = nn.Linear(WIDTH, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.embedding(x))[:, 0])


def create(num_classes: int = 1000) -> PatchNetwork:
    """The factory, for images of 32 px."""
    return PatchNetwork(num_classes)
