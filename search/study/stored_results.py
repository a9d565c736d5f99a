"""The results of a study, read from its database at one time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...objectives.data import DataFaults
from ...storage.database import ActiveLease, Tickets
from ..analysis import KeptComparisons
from .finalists import choose_finalists, is_finalist
from .results import StudyResults

if TYPE_CHECKING:
    from .study import Study

# Attribute of a study: the device and the versions with which it last ran.
RAN = "frostline:ran"


def alive_leases(tickets: Tickets) -> list[ActiveLease]:
    """Return the tickets that running workers hold."""
    return [held for held in tickets.held() if held.seconds_left > 0]


def read_results(study: Study) -> StudyResults:
    """Return the results of a study as it stands."""
    ran = study.attributes.get(RAN, {"device": "", "versions": {}})
    trials, trainings, finals = study.trials(), study.curve_records(), study.final_records()
    candidates = {each.identity for each in study.candidates(trials)}
    chosen = choose_finalists(study.settings, trials, study.facts.val_images, finals)
    faults = study.data_faults.get()
    held, held_finals = alive_leases(study.tickets), alive_leases(study.final_tickets)
    return StudyResults(
        settings=study.settings,
        facts=study.facts,
        trials=tuple(trials),
        finals=tuple(final for final in finals if is_finalist(final, chosen)),
        candidate_finals=tuple(
            final for final in finals if final.finalist in candidates and not is_finalist(final, chosen)
        ),
        trainings=tuple(record for record in trainings if is_finalist(record.final, chosen)),
        race_ended=study.race_ended,
        device=ran["device"],
        versions=ran["versions"],
        comparing=KeptComparisons(study.workspace.comparisons),
        data_faults=None if faults is None else DataFaults.from_row(faults),
        truncation=study.diagnoses.truncation(),
        nearness=study.diagnoses.nearness(),
        stock=study.diagnoses.stock(),
        workers=len({each.owner for each in (*held, *held_finals)}),
        running_finals=len(held_finals),
        wish=study.wish.get(),
        used_seconds=study.tickets.use().seconds,
        speed=study.diagnoses.speed(),
        ending=study.ending(),
    )
