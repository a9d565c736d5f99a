"""A study in its database: created once, opened by name, read as records."""

from __future__ import annotations

import json
import platform
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ...objectives.errors import InvalidInputError, unknown_name
from ...storage.database import (
    CurveTable,
    Database,
    DataFaultsTable,
    EndingsTable,
    FinalsTable,
    StudyControl,
    Tickets,
)
from ...storage.files import CheckpointPlace, artifacts_fault, checkpoint_place
from ...storage.tracking import StudyMark
from ...storage.workspace import Workspace
from ..analysis import CurveRecord
from ..records import FINISHED, STRATEGY, FinalRecord, FinalScores, TrialRecord, finalist_name, read_finalist
from .diagnoses import Diagnoses
from .ending import Ending
from .facts import StudyFacts
from .finalists import Finalist, list_candidates
from .optuna_rows import read_study_attributes
from .results import StudyResults, has_ended, is_decided
from .settings import StudySettings
from .stored_records import FINAL_FAILED, OUTCOME, failed_finals, final_record_of, read_facts, record_of_row
from .stored_results import RAN, alive_leases, read_results
from .studies import find_studies
from .trial_rows import TrialReader, TrialRow
from .trial_supply import issue_trials, search_ended

if TYPE_CHECKING:
    import optuna

_SETTINGS, _FACTS = "frostline:settings", "frostline:facts"
_RACE_ENDED = "frostline:race_ended"
# With the name of the configuration behind it: one attribute each, since several workers may write at once.
_TRACKING, _ARTIFACTS = "frostline:tracking", "frostline:artifacts"
# Tells the study from others of its name; of a study that an earlier version created, it says so.
_IDENTITY = "frostline:identity"
LIBRARIES = ("frostline", "torch", "torchvision", "optuna", "mlflow", "numpy")


def _no_study(name: str, workspace: Workspace, names: list[str]) -> InvalidInputError:
    if names:
        return InvalidInputError(unknown_name("study", name, names))
    return InvalidInputError(
        f"There is no study {name!r} in {workspace.root}, nor any other. "
        "Start one with: frostline search DATA; or choose another folder with --workspace."
    )


class Study:
    """A study: its Optuna study, settings, facts, tickets and finals.

    Args:
        optuna_id: Id of its Optuna study.
        workspace: Workspace of the study.

    Attributes:
        optuna_id: The same.
        tickets: Tickets of the trials, one per trial.
        final_tickets: Tickets of the finals, one per finalist and seed.
        finals: Recorded finals.
        curve: Recorded trainings on part of the images.
        data_faults: Faults of the data, found before the first trial.
        diagnoses: What else was measured, for readers.
        wish: Desired state of the workers: run, pause or stop.
        endings: Why the search ended early, under whatever settings.
    """

    def __init__(self, optuna_id: int, workspace: Workspace) -> None:
        self.optuna_id = optuna_id
        self.workspace = workspace
        self.database = Database(workspace.studies_url)
        attributes = self.attributes
        self.settings = StudySettings.model_validate_json(attributes[_SETTINGS])
        self.facts = read_facts(attributes[_FACTS])
        self._reader = TrialReader(optuna_id, STRATEGY)
        self.tickets = Tickets(self.database, self.settings.name, "trial")
        self.final_tickets = Tickets(self.database, self.settings.name, "final")
        self.finals = FinalsTable(self.database, self.settings.name)
        self.curve = CurveTable(self.database, self.settings.name)
        self.data_faults = DataFaultsTable(self.database, self.settings.name)
        self.diagnoses = Diagnoses(self.database, self.settings.name)
        self.wish = StudyControl(self.database, self.settings.name)
        self.endings = EndingsTable(self.database, self.settings.name)

    @classmethod
    def create(
        cls, settings: StudySettings, facts: StudyFacts, workspace: Workspace, tracking_uri: str | None
    ) -> Study:
        """Create a study, with tickets for its trials."""
        from .optuna_storage import close_optuna_study, create_optuna_study

        inner = create_optuna_study(settings.name, workspace.create())
        inner.set_user_attr(_FACTS, json.dumps(asdict(facts)))
        inner.set_user_attr(_TRACKING, tracking_uri)
        inner.set_user_attr(_IDENTITY, {"id": secrets.token_hex(8), "earlier": False})
        inner.set_user_attr(_SETTINGS, settings.model_dump_json())
        close_optuna_study(inner)
        return cls(inner._study_id, workspace).ready()

    @classmethod
    def load(cls, name: str, workspace: Workspace) -> Study:
        """Open a study.

        Raises:
            InvalidInputError: There is no study of this name, or its creation was interrupted.
        """
        found = find_studies(workspace)
        if name not in found:
            raise _no_study(name, workspace, list(found))
        try:
            return cls(found[name], workspace)
        except KeyError:
            raise InvalidInputError(
                f"Study {name!r} is incomplete: its creation was interrupted. "
                "Start another: frostline search DATA --name ANOTHER"
            ) from None

    @cached_property
    def inner(self) -> optuna.Study:
        """Return the Optuna study; readers do without, since loading Optuna and opening its storage takes long."""
        from .optuna_storage import load_optuna_study

        return load_optuna_study(self.settings.name, self.workspace)

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the Optuna study."""
        return self.database.run_with_retry(partial(read_study_attributes, study_id=self.optuna_id))

    def ready(self) -> Study:
        """Issue the missing tickets of the trials, and record the shared location of checkpoints.

        Joining workers find the location in the database.
        """
        if url := self.workspace.artifacts_url:
            # Studies of other databases may have the same name.
            folder = self._shared.get("folder", f"{self.settings.name}-{secrets.token_hex(4)}")
            self.inner.set_user_attr(_ARTIFACTS, {"url": url, "folder": folder})
        done = {row.number for row in self._rows() if row.state in FINISHED}
        if self.ending() is None:
            issue_trials(self.tickets, self.settings, done)
        return self

    def search_ended(self) -> bool:
        """Return whether no trial is left on any machine."""
        if not search_ended(self.tickets, self.settings, self.ending()):
            return False
        # Another process may have extended it.
        self.read_budget()
        return search_ended(self.tickets, self.settings, self.ending())

    def ending(self) -> Ending | None:
        """Return why the search ended before all of its trials ran; None if it did not, or was extended since."""
        row = None if self.settings.stop_when_sure is None else self.endings.get()
        found = None if row is None else Ending.from_row(row)
        return found if found is not None and found.is_of(self.settings) else None

    def close(self) -> None:
        """Close the connections to the database; the next use opens new ones."""
        self.database.engine.dispose()
        if (inner := vars(self).pop("inner", None)) is not None:
            from .optuna_storage import close_optuna_study

            close_optuna_study(inner)

    @property
    def tracking_uri(self) -> str | None:
        """Return the URI of MLflow; None for the MLflow of the workspace."""
        return self.attributes[_TRACKING]

    @property
    def mark(self) -> StudyMark:
        """Return the mark by which MLflow tells the study from others of its name."""
        identity = self.attributes.get(_IDENTITY, {"id": "", "earlier": True})
        return StudyMark(
            self.settings.name, identity["id"], data=self.facts.fingerprint if identity["earlier"] else None
        )

    def identify(self) -> StudyMark:
        """Return the mark; a study of an earlier version gets its id, which is written to the database."""
        if not self.mark.id:
            self.inner.set_user_attr(_IDENTITY, {"id": secrets.token_hex(8), "earlier": True})
        return self.mark

    @property
    def artifacts_url(self) -> str | None:
        """Return the URL of the shared checkpoints as this machine reaches it; None for the workspace."""
        return self.workspace.artifacts_url or self._shared.get("url")

    @property
    def _shared(self) -> dict[str, str]:
        """Return the URL of the shared checkpoints on the leading machine, and the study's folder in it."""
        return self.attributes.get(_ARTIFACTS, {})

    def require_artifacts(self) -> None:
        """Check that this machine can write to the shared location of checkpoints.

        Raises:
            InvalidInputError: This machine cannot reach the location, or cannot write to it.
        """
        url = self.artifacts_url
        if url and (fault := artifacts_fault(url)):
            raise InvalidInputError(fault)

    def checkpoints(self, note: Callable[[str], None]) -> CheckpointPlace:
        """Return the store of the study's checkpoints; errors of a shared store are reported once, through ``note``."""
        name = self.settings.name
        local, folder = self.workspace.checkpoints(name), self._shared.get("folder", name)
        return checkpoint_place(local, self.artifacts_url, folder, note)

    def extend(self, settings: StudySettings, seeds: int | None = None) -> None:
        """Set how far the search goes, and the largest number of seeds of a finalist, which lets an ended race go on.

        The settings are those of the study with other trials, budget and sureness.
        """
        present = self.settings
        changed = {name: getattr(settings, name) for name in ("trials", "budget", "stop_when_sure")}
        if settings.budget is not None:
            # Older versions recorded the seconds with the trials alone.
            self.tickets.fill_used_seconds({trial.number: trial.seconds for trial in self.trials() if trial.seconds})
        if seeds is not None:
            changed |= {"finals_seeds": seeds, "finals_limited": False}
            # A race that has not ended follows the new number as if it had had it from the first.
            if self.decided():
                changed["earlier_seeds"] = (*present.earlier_seeds, present.finals_seeds)
                self.end_race(())
        self.settings = present.model_copy(update=changed)
        self.inner.set_user_attr(_SETTINGS, self.settings.model_dump_json())

    def read_budget(self) -> None:
        """Read the budget again, which another process may have raised."""
        self.settings = StudySettings.model_validate_json(self.attributes[_SETTINGS])

    def record_run(self, device: str) -> None:
        """Record the device and the versions with which the study runs."""
        versions = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
        self.inner.set_user_attr(RAN, {"device": device, "versions": versions})

    def fail_final(self, finalist: str, reason: str) -> None:
        """Record that a configuration cannot be trained again, and why."""
        self.inner.set_user_attr(f"{FINAL_FAILED}{finalist}", reason)

    def end_race(self, candidates: Collection[str]) -> None:
        """Record that the race of these candidates has ended; a later race has other candidates."""
        self.inner.set_user_attr(_RACE_ENDED, sorted(candidates))

    @property
    def race_ended(self) -> tuple[str, ...]:
        """Return the names of the candidates of the last race that ended; readers need not run it again."""
        return tuple(self.attributes.get(_RACE_ENDED, ()))

    def trials(self) -> list[TrialRecord]:
        """Return all trials by number."""
        alive = {held.number for held in alive_leases(self.tickets)}
        records = [record_of_row(row, alive) for row in self._rows()]
        failed = failed_finals(self.attributes)
        return [replace(each, final_failed=failed.get(each.number)) for each in records] if failed else records

    def candidates(self, trials: Sequence[TrialRecord]) -> list[Finalist]:
        """Return the candidates of all strategies, with every seed that each may have."""
        return list_candidates(self.settings, trials, self.facts.val_images)

    def trial(self, number: int) -> TrialRecord:
        """Return one trial."""
        return record_of_row(self._rows()[number])

    def outcome(self, number: int) -> dict[str, Any]:
        """Return the recorded costs and checks of a finished trial."""
        return self._rows()[number].attributes.get(OUTCOME, {})

    def _rows(self) -> list[TrialRow]:
        """Return the rows of all trials, by number."""
        return self.database.run_with_retry(self._reader.read)

    def final_identities(self) -> list[tuple[str, int, int]]:
        """Strategy, trial number and seed of every training of every finalist there has been."""
        return [(*read_finalist(finalist), seed) for finalist, seed in self.finals.identities()]

    def final_scores(self) -> list[FinalScores]:
        """Scores and costs of every training of every finalist there has been.

        Raises:
            StorageError: Another version recorded finals that this one cannot read.
        """
        return [FinalScores.from_row(final.outcome, final.seed) for final in self.finals.outcomes()]

    def final_record(self, strategy: str, trial_number: int, seed: int) -> FinalRecord:
        """One training of a finalist.

        Raises:
            KeyError: It is not recorded.
            StorageError: Another version recorded it, and this one cannot read it.
        """
        final = self.finals.get(finalist_name(strategy, trial_number), seed)
        if final is None:
            raise KeyError((strategy, trial_number, seed))
        return final_record_of(final, len(self.facts.classes))

    def final_records(self) -> list[FinalRecord]:
        """Return all finals, including those of former finalists."""
        return [final_record_of(final, len(self.facts.classes)) for final in self.finals.all()]

    def curve_records(self) -> list[CurveRecord]:
        """Return all trainings on part of the images, including those of former finalists."""
        return [
            CurveRecord(
                each.images,
                FinalScores.from_row(each.outcome, each.seed).with_predictions(each.labels, each.probabilities),
            )
            for each in self.curve.all()
        ]

    def decided(self) -> bool:
        """Return whether all finals are done, without reading their predictions."""
        return self._decided(self.trials())

    def complete(self) -> bool:
        """Return whether all trials and finals are done, without reading predictions."""
        trials = self.trials()
        return has_ended(self.settings, trials, self.tickets.use().seconds, self.ending()) and self._decided(trials)

    def _decided(self, trials: list[TrialRecord]) -> bool:
        return is_decided(self.settings, self.facts, trials, self.final_scores(), self.race_ended)

    def results(self) -> StudyResults:
        """Return the results of the study."""
        return read_results(self)
