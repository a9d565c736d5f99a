"""What all tests of this folder share: no test leaves a strategy behind."""

from collections.abc import Iterator

import pytest

from frostline.objectives.strategies import STRATEGIES


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """What a test registers is gone after it."""
    snapshot = STRATEGIES.snapshot()
    yield
    STRATEGIES.restore(snapshot)
