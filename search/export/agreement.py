"""The test images as a study decoded them: what a network and its copies must give for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...objectives.calibration import calibrate
from ...objectives.data import find_gallery
from ...objectives.networks import NotExportedError, TrainedModel
from ...storage.errors import StorageError
from ..analysis import STOCK
from ..records import FinalScores
from ..study import Study

# Largest difference of a probability that rounding explains.
TOLERANCE = 1e-4
# Largest mean difference that the mixed precision of a GPU's training explains.
_MIXED_PRECISION = 0.01
# Of more test images, as many are compared, evenly spaced.
_MOST = 1000
_RANDOM = 16
_BATCH = 32


@dataclass(frozen=True)
class CheckImages:
    """Images on which a network, its copies and the record of its final are compared.

    Attributes:
        model: The network.
        canvases: Images, uint8 (N, R, R, C): test images, or noise if this machine no longer has them.
        recorded: Calibrated probabilities (N, classes) that the final recorded; None for noise, and for a model stock,
            of which the test score alone is recorded.
        test_images: Number of all test images.
        noise: Whether the images are noise.
    """

    model: TrainedModel
    canvases: NDArray[np.uint8]
    recorded: NDArray[np.floating] | None
    test_images: int
    noise: bool = False

    @classmethod
    def of(cls, study: Study, final: FinalScores, model: TrainedModel) -> CheckImages:
        """Find the test images in the workspace's cache; the data themselves are not needed."""
        seeds = (each for each in study.final_scores() if each.finalist == final.finalist)
        single = next(seeds) if final.seed == STOCK else final
        record = study.final_record(*single.identity)
        preprocessing, count = model.card.preprocessing, len(record.labels)
        gallery = find_gallery(
            study.facts.fingerprint,
            cache_dir=study.workspace.images,
            seed=study.settings.seed,
            preprocessing=preprocessing,
        )
        if gallery is None or not gallery.holds(record.labels) or record.classes_only:
            side = preprocessing.canvas_size
            shape = (_RANDOM, side, side, preprocessing.channels)
            noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            return cls(model, noise, None, count, noise=True)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST)).round().astype(int))
        canvases = np.asarray(gallery.canvas[gallery.test[chosen]])
        calibrated = calibrate(record.probabilities[chosen], model.card.temperature)
        return cls(model, canvases, None if final.seed == STOCK else calibrated, count)

    @cached_property
    def expected(self) -> NDArray[np.float32]:
        """Return the probabilities (N, classes) that the network gives."""
        return np.concatenate([self.model.probabilities(canvases) for canvases in self._batches()])

    def difference(self) -> float | None:
        """Return the largest difference of the network's probabilities from the recorded ones; None without any.

        Raises:
            StorageError: They differ by more than mixed precision explains.
        """
        if self.recorded is None:
            return None
        apart = np.abs(self.expected - self.recorded)
        if apart.mean() > _MIXED_PRECISION:
            raise StorageError(
                f"The network does not give the probabilities that its final recorded (mean difference "
                f"{apart.mean():.3f}): its files or the code of its backbone changed. Nothing was written."
            )
        return float(apart.max())

    def require(self, copy: Callable[[Tensor], Tensor], inputs: Callable[[NDArray[np.uint8]], Tensor]) -> float:
        """Compare a copy of the network with it.

        Args:
            copy: Function from inputs to logits.
            inputs: Function from canvases to the copy's inputs.

        Returns:
            Largest difference of a probability.

        Raises:
            NotExportedError: It is more than rounding explains.
        """
        with torch.no_grad():
            found = [copy(inputs(canvases)).softmax(dim=1).numpy() for canvases in self._batches()]
        apart = float(np.abs(np.concatenate(found) - self.expected).max())
        if not apart <= TOLERANCE:
            raise NotExportedError(f"its probabilities differ by up to {apart:.2g} from the network's")
        return apart

    def sentence(self, differences: dict[str, float]) -> str:
        """Say what was compared, and with which result.

        Args:
            differences: Largest difference of each copy from the network, by file.
        """
        count = len(self.canvases)
        which = f"{count} of {self.test_images:,}" if count < self.test_images else f"all {count}"
        told = ", ".join(f"`{file}` {apart:.1g}" for file, apart in differences.items())
        copies = f" Largest difference of a probability from the network's: {told}." if told else ""
        apart = self.difference()
        if apart is None and not self.noise:
            return f"Checked on {which} test images.{copies}"
        if apart is None:
            return f"The test images are not on the machine of the export: checked on {count} images of noise.{copies}"
        why = (
            ""
            if apart <= TOLERANCE
            else " (more than rounding: a GPU trains in mixed precision, the export computes in float32)"
        )
        return f"Checked on {which} test images: within {apart:.1g} of the final's recorded probabilities{why}.{copies}"

    def _batches(self) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(self.canvases), _BATCH):
            yield self.canvases[start : start + _BATCH]
