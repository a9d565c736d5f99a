from .control import PAUSE, RUN, STOP, StudyControl
from .curve_results import CurveTable
from .data_faults import DataFaultsTable
from .diagnoses import DiagnosesTable
from .endings import EndingsTable
from .engine import Database, database_error, probe, share_sqlite
from .finals import FinalsTable, StoredFinal
from .leases import LeaseKeeper, describe_worker, expire_dead_workers, expire_process_without_penalty, has_ended
from .ticket_repair import Ticket, read_tickets, reclaim_expired, set_done
from .ticket_use import TicketUse
from .tickets import ActiveLease, Lease, Tickets, credit_progress, finish, prove, release, release_crashed

__all__ = [
    "PAUSE",
    "RUN",
    "STOP",
    "ActiveLease",
    "CurveTable",
    "DataFaultsTable",
    "Database",
    "DiagnosesTable",
    "EndingsTable",
    "FinalsTable",
    "Lease",
    "LeaseKeeper",
    "StoredFinal",
    "StudyControl",
    "Ticket",
    "TicketUse",
    "Tickets",
    "credit_progress",
    "database_error",
    "describe_worker",
    "expire_dead_workers",
    "expire_process_without_penalty",
    "finish",
    "has_ended",
    "probe",
    "prove",
    "read_tickets",
    "reclaim_expired",
    "release",
    "release_crashed",
    "set_done",
    "share_sqlite",
]
