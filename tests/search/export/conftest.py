"""A finished study on small photos, with a head-only, a partial, a low-rank and a solved network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from frostline.search.execution.run import run_search
from frostline.search.records import FinalRecord
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from ...noise import write_look_alikes

CLASSES = ("blue", "green", "red")
STRATEGIES = ("feature_extraction", "partial", "lora", "linear_probe_exact")
SPACE = """
[feature_extraction]
epochs = 2
learning_rate = 0.003

[partial]
epochs = 2
learning_rate = 0.003
freeze_depth = 2
"head.pooling" = "gem"

[lora]
epochs = 2
learning_rate = 0.01

[linear_probe_exact]
"""


@dataclass(frozen=True)
class Finished:
    """A study that ran to its verdict."""

    study: Study
    data: Path

    @property
    def workspace(self) -> Workspace:
        return self.study.workspace

    @property
    def test_files(self) -> list[Path]:
        return [file for name in CLASSES for file in sorted((self.data / "test" / name).iterdir())]

    def chosen(self, strategy: str) -> FinalRecord:
        """The final of a strategy with the best validation score."""
        finals = [final for final in self.study.results().finals if final.strategy == strategy]
        return sorted(finals, key=lambda final: (-final.val_score, final.seed))[0]

    def calibrated(self, strategy: str) -> NDArray[np.float64]:
        """Recorded test probabilities of logits that are divided by the final's temperature."""
        final = self.chosen(strategy)
        assert final.temperature is not None
        return softmax(np.log(final.probabilities.astype(float)) / final.temperature, axis=1)


def finish(root: Path) -> Finished:
    """Run the study in a folder."""
    data = write_look_alikes(root / "photos", CLASSES)
    (root / "space.toml").write_text(SPACE)
    request = Request(
        *(str(data), "tiny_network:create", "none", 32),
        trials=4,
        finals_seeds=2,
        name="photos",
        space=root / "space.toml",
        device="cpu",
        audit=False,
    )
    return Finished(run_search(request, Workspace(root / "workspace")), data)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(tmp_path_factory.mktemp("exports"))
