"""Attention pooling: learned queries that attend to the places of a feature map or to tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..backbones import is_map


class AttentionPool(nn.Module):
    """Cross-attention of M learned queries over places: features (N, *shape) to (N, M * G).

    Efficient probing (Psomas et al. 2025, "Attention, Please! Revisiting Attentive Probing Through the Lens of
    Efficiency", arXiv 2506.10178): the features themselves are the keys, queries are not projected, and each query
    pools G of the value channels; a linear map without bias gives the values. M * G is the number of channels C, or
    the next multiple of M.

    Unlike there, it starts as the global average: queries are 0 and values are the features. So a head that is solved
    on averages first (``head.init = "probe"``) starts from its solution.

    Args:
        shape: Shape of one image's features: (C, H, W), (H, W, C) or (L, C).
        queries: Number of queries M.

    Example:
        >>> import torch
        >>> from frostline.objectives.networks.attention import AttentionPool
        >>> AttentionPool((3, 2), queries=1)(torch.tensor([[[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]]])).tolist()
        [[3.0, 1.0]]
    """

    def __init__(self, shape: tuple[int, ...], queries: int) -> None:
        super().__init__()
        self.channels_first = is_map(shape)
        channels = shape[0] if self.channels_first else shape[-1]
        group = -(-channels // queries)
        self.queries = nn.Parameter(torch.zeros(queries, channels))
        self.values = nn.Parameter(torch.eye(queries * group, channels).view(queries, group, channels))

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.flatten(2).transpose(1, 2) if self.channels_first else features.flatten(1, -2)
        scores = tokens @ self.queries.t() * self.queries.shape[1] ** -0.5
        # Pooled before the linear map: with as many places as queries or more, that takes fewer operations.
        pooled = scores.softmax(dim=1).transpose(1, 2) @ tokens
        return torch.einsum("nmc,mgc->nmg", pooled, self.values).flatten(1)

    def extra_repr(self) -> str:
        return f"queries={self.queries.shape[0]}"
