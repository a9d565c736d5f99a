"""A study as Python users read it: verdict, trials, network, report. It reads what is stored when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import FinalScores, TrialRecord
from ..study import Study as StoredStudy
from .errors import public_errors
from .verdict import VerdictRecord, describe_verdict
from .views import views

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import nn

    from ...objectives.data import EncodedImage

_TRIAL_COLUMNS = (
    "strategy", "state", "score", "log_loss", "seconds", "epochs", "freeze_depth", "trainable_parameters", "reason",
    "finished",
)  # fmt: skip
_FINAL_COLUMNS = (
    "strategy", "trial_number", "seed", "val_score", "test_score", "seconds", "device_seconds", "trainable_parameters",
    "temperature", "latency", "size",
)  # fmt: skip


class Study:
    """A study, running or finished.

    :func:`run_search`, :func:`resume` and :func:`load_study` return one. Every property reads the database, so that a
    running study can be followed. Nothing loads torch but the methods that give a network. All raise
    :class:`FrostlineError` where the database does not answer.

    Args:
        stored: The study in its database.
    """

    def __init__(self, stored: StoredStudy) -> None:
        self._stored = stored

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._stored.settings.name

    @property
    def workspace(self) -> Path:
        """Folder of the study's files."""
        return self._stored.workspace.root

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the study, as plain values; ``space`` is the search space."""
        with public_errors():
            self._stored.read_budget()
            return self._stored.settings.model_dump()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return self._stored.facts.classes

    @property
    def state(self) -> str:
        """What is missing: ``trials``, ``finals``, or nothing (``finished``)."""
        with public_errors():
            return self._stored.results().state

    @property
    def verdict(self) -> VerdictRecord | None:
        """The verdict; None until the finals have ended."""
        with public_errors():
            return describe_verdict(self._stored.results())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the verdict must know besides it, in sentences."""
        with public_errors():
            return self._stored.results().warnings

    @property
    def trials(self) -> pd.DataFrame:
        """The trials, one row each, by number.

        Columns: ``strategy``, ``state`` (waiting, running, complete, pruned or failed), ``score`` (best validation
        score, a share of 1), ``seconds``, ``epochs`` (the most it may have), ``freeze_depth``,
        ``trainable_parameters``, ``reason`` (of a failure), ``finished`` (time), and ``params_NAME`` for each
        parameter; one that a trial does not have is missing there.
        """
        import pandas as pd

        with public_errors():
            trials = self._stored.trials()
        rows = [_trial_row(trial) for trial in trials]
        known = dict.fromkeys((*_TRIAL_COLUMNS, *(column for row in rows for column in row)))
        return pd.DataFrame(rows, index=pd.Index([trial.number for trial in trials], name="number"), columns=[*known])

    @property
    def curves(self) -> pd.DataFrame:
        """The validation scores of all trials, one row for each trial (``number``) and ``epoch``.

        In a study with folds, an epoch is a fold, and its score the mean of the folds so far.
        """
        import pandas as pd

        with public_errors():
            trials = self._stored.trials()
        rows = [
            (trial.number, trial.strategy, epoch, score) for trial in trials for epoch, score in trial.curve.items()
        ]
        return pd.DataFrame(rows, columns=["number", "strategy", "epoch", "score"])

    @property
    def folds(self) -> pd.DataFrame:
        """The trainings of all trials on their folds, one row for each trial (``number``) and ``fold``, from 1.

        Empty in a study without folds.
        """
        import pandas as pd

        with public_errors():
            trials = self._stored.trials()
        rows = [
            (trial.number, trial.strategy, place, fold.score, fold.epochs, fold.measured["seconds"])
            for trial in trials
            for place, fold in enumerate(trial.folds, 1)
        ]
        return pd.DataFrame(rows, columns=["number", "strategy", "fold", "score", "epochs", "seconds"])

    @property
    def finals(self) -> pd.DataFrame:
        """All finals, one row for each configuration and seed; scores are shares of 1, times seconds, sizes bytes.

        ``finalist`` tells the finals of the finalists, which the verdict counts, from those of other candidates.
        """
        import pandas as pd

        with public_errors():
            finals: Sequence[FinalScores] = self._stored.final_scores()
            chosen = {final.identity for final in self._stored.results().finals}
        rows = [
            {column: getattr(final, column) for column in _FINAL_COLUMNS} | {"finalist": final.identity in chosen}
            for final in finals
        ]
        return pd.DataFrame(rows, columns=[*_FINAL_COLUMNS, "finalist"])

    def best_model(self, strategy: str | None = None, *, device: str = "cpu") -> nn.Module:
        """The trained network of a strategy, as one plain module in evaluation mode, which can be trained further.

        It takes normalized images, float32 (N, 3, S, S), and gives calibrated logits (N, classes): their softmax gives
        calibrated probabilities. :meth:`predict` prepares images as the training did.

        Args:
            strategy: Name of the strategy; None for the recommended one.
            device: Name of the device.

        Raises:
            FrostlineError: The study has no verdict yet, the strategy no final, or the network is gone.
        """
        from ..export import load_classifier_of

        with public_errors():
            return load_classifier_of(self._stored, strategy, device)

    def predict(
        self, images: Sequence[EncodedImage], strategy: str | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Calibrated class probabilities of images, by the network of a strategy.

        Args:
            images: Paths of files, bytes of files, or arrays.
            strategy: Name of the strategy; None for the recommended one.
            device: Name of the device.

        Returns:
            Probabilities, float32 (N, classes), in the order of :attr:`classes`.

        Raises:
            FrostlineError: An image cannot be used, or see :meth:`best_model`.
        """
        from ..export import load_kept, open_kept

        with public_errors(), open_kept(self._stored, strategy) as kept:
            return load_kept(kept, device).predict(images)

    def export(self, folder: str | Path, strategy: str | None = None) -> Path:
        """Write a strategy's network as a folder that works without Frostline, as ``frostline export``.

        Args:
            folder: Folder to write, missing or empty.
            strategy: Name of the strategy; None for the recommended one.

        Returns:
            The folder.

        Raises:
            FrostlineError: The folder is not empty, or see :meth:`best_model`.
        """
        from ..export import export_study

        with public_errors():
            export_study(self._stored, strategy, Path(folder), note=views().observer().note)
        return Path(folder)

    def script(self, trial: int | str | None = None) -> str:
        """A trial as a script of plain PyTorch that repeats its training without Frostline.

        Args:
            trial: Number of the trial, or name of a strategy for its finalist; None for that of the recommended one.

        Raises:
            FrostlineError: There is no such trial, or plain PyTorch cannot repeat it; the message says why.
        """
        from ..export import write_script

        with public_errors():
            return write_script(self._stored, None if trial is None else str(trial))

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one self-contained HTML file, and log it to the study's MLflow run.

        Args:
            path: File to write; by default in the workspace.

        Returns:
            Path of the file.

        Raises:
            FrostlineError: The file cannot be written.
        """
        with public_errors():
            return views().report(self._stored, None if path is None else Path(path))

    def close(self) -> None:
        """Close the connections to the database; the next use opens new ones."""
        self._stored.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Study {self.name!r}>"

    def _repr_html_(self) -> str:
        with public_errors():
            return views().html(self._stored.results())


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    own = {column: getattr(trial, column) for column in _TRIAL_COLUMNS}
    return own | {f"params_{name}": value for name, value in trial.config.items() if name != "strategy"}
