"""Operations of a head that pools by attention: it reads every place of a map, or every token, in each epoch."""

from __future__ import annotations


def attention_flops(places: int, channels: int, queries: int) -> int:
    """Return the floating-point operations of a forward pass for one image; a multiply-add counts 2.

    They are those of ``objectives/networks/attention.py::AttentionPool``: scores of the queries at each place, weighted
    sums of the places, and a linear map of each query's sum to its group of the channels.

    Args:
        places: Number of places or tokens.
        channels: Number of features of each.
        queries: Number of queries.
    """
    return 2 * _attending(places, channels, queries) + _values(channels, queries)


def attention_training_flops(places: int, channels: int, queries: int, *, into_features: bool) -> int:
    """Return those of a forward and backward pass.

    Args:
        places: Number of places or tokens.
        channels: Number of features of each.
        queries: Number of queries.
        into_features: Whether the features get gradients too, because units before the head train.
    """
    attending, values = _attending(places, channels, queries), _values(channels, queries)
    backward = (4 if into_features else 2) * attending + 2 * values
    return attention_flops(places, channels, queries) + backward


def _attending(places: int, channels: int, queries: int) -> int:
    return 2 * places * channels * queries


def _values(channels: int, queries: int) -> int:
    group = -(-channels // queries)
    return 2 * queries * group * channels
