"""The workspace: the folder that holds all files of its studies, the paths in it, and their timing."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UnusableError
from .timing import Timing
from .urls import absolute_place, safe_url

DEFAULT_WORKSPACE = "frostline-workspace"
ENVIRONMENT_VARIABLE = "FROSTLINE_WORKSPACE"
STORAGE_VARIABLE = "FROSTLINE_STORAGE"
ARTIFACTS_VARIABLE = "FROSTLINE_ARTIFACTS"
_NOT_IN_URLS = set("?%")


@dataclass(frozen=True)
class Workspace:
    """Paths in a workspace. No folder is created before it is needed.

    Attributes:
        root: Absolute path of the folder.
        storage: URL of the studies' database; None if it is in the workspace.
        artifacts_url: URL where machines share checkpoints; None for the default of each study.
        timing: Intervals of the processes that use the workspace; by default those of the environment.

    Examples:
        >>> from pathlib import Path
        >>> from frostline.storage.workspace import Workspace
        >>> workspace = Workspace(Path("/data/runs"))
        >>> workspace.studies_url
        'sqlite:////data/runs/studies.db'
        >>> workspace.report("flowers").as_posix()
        '/data/runs/reports/flowers.html'
    """

    root: Path
    storage: str | None = None
    artifacts_url: str | None = None
    timing: Timing = field(default_factory=Timing.from_environment)

    @classmethod
    def locate(cls, folder: Path | None = None, storage: str | None = None, artifacts: str | None = None) -> Workspace:
        """Return the workspace named by arguments, environment variables or defaults, in this order.

        Args:
            folder: Folder; by default ``$FROSTLINE_WORKSPACE``, else ``./frostline-workspace``.
            storage: Database URL; by default ``$FROSTLINE_STORAGE``, else a SQLite file in the folder.
            artifacts: URL or folder of shared checkpoints; by default ``$FROSTLINE_ARTIFACTS``, else None.

        Raises:
            UnusableError: The path is a file, or contains a character that database URLs cannot hold.
        """
        chosen = folder or Path(os.environ.get(ENVIRONMENT_VARIABLE, DEFAULT_WORKSPACE))
        root = Path(os.path.expanduser(chosen)).absolute()
        if os.path.exists(root) and not os.path.isdir(root):
            raise UnusableError(f"The workspace {chosen} is a file. Name a folder with --workspace.")
        if _NOT_IN_URLS & set(str(root)):
            raise UnusableError(f"The workspace {root} has '?' or '%' in its path. Name another with --workspace.")
        shared = artifacts or os.environ.get(ARTIFACTS_VARIABLE)
        # A URL that was read from a file may end in a newline.
        url = (storage or os.environ.get(STORAGE_VARIABLE, "")).strip() or None
        return cls(root, url, absolute_place(shared) if shared else None)

    def create(self) -> Workspace:
        """Create the folder if it is missing.

        Raises:
            UnusableError: The folder cannot be created.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableError(
                f"Cannot create the workspace {self.root} ({error.strerror}). Name another folder with --workspace."
            ) from None
        return self

    @property
    def option(self) -> str:
        """Options with which a command finds this workspace; empty where the defaults find it."""
        usual = Workspace.locate()
        folder = "" if self.root == usual.root else f" --workspace {shlex.quote(str(self.root))}"
        # The option is printed, so it must not contain the password.
        storage = "" if self.storage == usual.storage else f" --storage {shlex.quote(safe_url(self.storage or ''))}"
        return folder + storage

    @property
    def studies_url(self) -> str:
        """URL of the studies' database."""
        return self.storage or f"sqlite:///{self.root / 'studies.db'}"

    @property
    def logs(self) -> Path:
        """Folder of the slots' output, one file a slot."""
        return self.root / "logs"

    @property
    def tracking_url(self) -> str:
        """URL of the workspace's own MLflow database."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Folder of MLflow's artifacts."""
        return self.root / "artifacts"

    @property
    def images(self) -> Path:
        """Folder of decoded datasets and of downloads by dataset libraries."""
        return self.root / "images"

    def checkpoints(self, study: str) -> Path:
        """Folder of a study's checkpoints, with one folder for each running training."""
        return self.root / "checkpoints" / study

    @property
    def features(self) -> Path:
        """Folder of cached features of frozen layers, shared by all studies."""
        return self.root / "features"

    @property
    def stages(self) -> Path:
        """Folder of cached head-only first phases, shared by all studies."""
        return self.root / "stages"

    @property
    def comparisons(self) -> Path:
        """Folder of comparisons of finals that were made before, shared by all studies."""
        return self.root / "comparisons"

    @property
    def precisions(self) -> Path:
        """Folder of what was measured to choose a precision, shared by all studies."""
        return self.root / "precisions"

    def report(self, study: str) -> Path:
        """Path of a study's HTML report."""
        return self.root / "reports" / f"{study}.html"

    def models(self, study: str) -> Path:
        """Folder of a study's final networks: the best seed of each finalist, one folder each."""
        return self.root / "models" / study

    def outgoing(self, study: str) -> Path:
        """Folder of files to upload to MLflow; removed after the upload."""
        return self.root / "outgoing" / study

    def journal(self, study: str) -> Path:
        """Path of a study's journal: log records, uploaded to MLflow or not."""
        return self.root / "journal" / f"{study}.jsonl"

    def lock(self, name: str) -> Path:
        """Path of a lock file; its folder is created."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.lock"
