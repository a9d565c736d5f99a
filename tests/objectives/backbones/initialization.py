"""Networks without drawn weights, for tests of their structure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from torch import nn


@contextmanager
def no_initialization() -> Iterator[None]:
    """Building a large network takes longer than running it; most of that is drawing random numbers."""
    with ExitStack() as stack:
        for name in dir(nn.init):
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield
