"""The mark by which MLflow's experiments, runs and registered models tell studies of one name apart."""

from __future__ import annotations

from dataclasses import dataclass

STUDY_ID = "frostline.study_id"
STUDY = "frostline.study"


@dataclass(frozen=True)
class StudyMark:
    """A study as MLflow knows it. Studies of other databases may have the same name, but never the same id.

    Attributes:
        name: Name of the study, which its experiment, parent run and registered model have if it is free.
        id: Id of the study, which its experiment, parent run and registered model have as a tag; empty for a study of
            an earlier version that no process has worked on since.
        data: Fingerprint of the data, by which a study of an earlier version recognizes its runs, which have no id;
            None for all others.
    """

    name: str
    id: str
    data: str | None = None

    @property
    def other_name(self) -> str:
        """Return the name for MLflow where another study has the own one."""
        return f"{self.name}-{self.id[:8]}"

    @property
    def tags(self) -> dict[str, str]:
        """Return the tags of what belongs to the study."""
        return {STUDY: self.name, STUDY_ID: self.id}
