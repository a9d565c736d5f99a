from .journal import Journal
from .journal_records import FILE, FINISH, START, parent_key
from .mlflow_audit import KnownRun, TrackedStudy, probe
from .mlflow_models import download_model
from .mlflow_runs import find_runs, log_artifact
from .mlflow_schema import SchemaFault, schema_fault
from .mlflow_settings import configure_mlflow
from .mlflow_views import keep_view, view_words
from .name_check import name_in_use
from .sender import describe_refused
from .study_mark import StudyMark
from .tracker import ServedModel, StudyTracker, TrackedRun, Tracker, log_study_file, send_journal, uri_fault
from .unsent_records import read_unsent

__all__ = [
    "FILE",
    "FINISH",
    "START",
    "Journal",
    "KnownRun",
    "SchemaFault",
    "ServedModel",
    "StudyMark",
    "StudyTracker",
    "TrackedRun",
    "TrackedStudy",
    "Tracker",
    "configure_mlflow",
    "describe_refused",
    "download_model",
    "find_runs",
    "keep_view",
    "log_artifact",
    "log_study_file",
    "name_in_use",
    "parent_key",
    "probe",
    "read_unsent",
    "schema_fault",
    "send_journal",
    "uri_fault",
    "view_words",
]
