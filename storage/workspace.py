"""One folder that holds everything a study leaves."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from .errors import StorageError
from .urls import absolute_place, safe_url

DEFAULT_WORKSPACE = "frostline-workspace"
ENVIRONMENT_VARIABLE = "FROSTLINE_WORKSPACE"
STORAGE_VARIABLE = "FROSTLINE_STORAGE"
ARTIFACTS_VARIABLE = "FROSTLINE_ARTIFACTS"
_NOT_IN_URLS = set("?%")


@dataclass(frozen=True)
class Workspace:
    """Paths in a workspace; nothing is made until it is needed.

    Attributes:
        root: The folder, absolute.
        storage: URL of the studies' database, if it is elsewhere.
        artifacts_url: Of a place for checkpoints that machines share; None for that of each study.
    """

    root: Path
    storage: str | None = None
    artifacts_url: str | None = None

    @classmethod
    def locate(cls, folder: Path | None = None, storage: str | None = None, artifacts: str | None = None) -> Workspace:
        """The folder given, else ``$FROSTLINE_WORKSPACE``, else ``./frostline-workspace``; the database likewise,
        ``$FROSTLINE_STORAGE``, else in the folder; the place for checkpoints, ``$FROSTLINE_ARTIFACTS``.

        Raises:
            StorageError: The path is a file, or the URL of a database in it would be misread.
        """
        chosen = folder or Path(os.environ.get(ENVIRONMENT_VARIABLE, DEFAULT_WORKSPACE))
        root = chosen.expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise StorageError(f"The workspace {chosen} is a file. Name a folder with --workspace.")
        if _NOT_IN_URLS & set(str(root)):
            raise StorageError(f"The workspace {root} has '?' or '%' in its path. Name another with --workspace.")
        shared = artifacts or os.environ.get(ARTIFACTS_VARIABLE)
        # A URL that was read from a file may bring the end of its line.
        url = (storage or os.environ.get(STORAGE_VARIABLE, "")).strip() or None
        return cls(root, url, absolute_place(shared) if shared else None)

    def create(self) -> Workspace:
        """Make the folder.

        Raises:
            StorageError: It cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The workspace {self.root} cannot be made ({error.strerror}). Name another folder with --workspace."
            ) from None
        return self

    @property
    def option(self) -> str:
        """What a command must add to find this workspace: nothing where it would anyway."""
        usual = Workspace.locate()
        folder = "" if self.root == usual.root else f" --workspace {shlex.quote(str(self.root))}"
        # Its password stays out of what is printed.
        storage = "" if self.storage == usual.storage else f" --storage {shlex.quote(safe_url(self.storage or ''))}"
        return folder + storage

    @property
    def studies_url(self) -> str:
        return self.storage or f"sqlite:///{self.root / 'studies.db'}"

    @property
    def logs(self) -> Path:
        """What slots print, one file each."""
        return self.root / "logs"

    @property
    def tracking_url(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def images(self) -> Path:
        """Decoded datasets, and what dataset libraries downloaded."""
        return self.root / "images"

    def checkpoints(self, study: str) -> Path:
        """Of trainings under way, one folder each."""
        return self.root / "checkpoints" / study

    @property
    def features(self) -> Path:
        """What frozen prefixes make of images, shared by all studies."""
        return self.root / "features"

    @property
    def stages(self) -> Path:
        """Phases of a head alone that trials begin with, shared by all studies."""
        return self.root / "stages"

    def report(self, study: str) -> Path:
        return self.root / "reports" / f"{study}.html"

    def models(self, study: str) -> Path:
        """Networks of a study's finals, a folder each: the best of each finalist."""
        return self.root / "models" / study

    def outgoing(self, study: str) -> Path:
        """Files for MLflow, gone when it has them."""
        return self.root / "outgoing" / study

    def journal(self, study: str) -> Path:
        """What MLflow shall show of a study and may not have got yet."""
        return self.root / "journal" / f"{study}.jsonl"

    def lock(self, name: str) -> Path:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.lock"
