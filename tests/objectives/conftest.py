"""What all tests of this folder share: their helpers can be imported, and no test leaves a strategy behind."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from frostline.objectives.strategies.catalog import STRATEGIES

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """What a test registers is gone after it."""
    snapshot = STRATEGIES.snapshot()
    yield
    STRATEGIES.restore(snapshot)
