from .journal import FILE, FINISH, START, Journal, parent_key, read_unsent
from .mlflow_audit import KnownRun, TrackedStudy, probe
from .mlflow_models import download_model
from .mlflow_runs import find_runs, log_artifact
from .mlflow_settings import configure_mlflow
from .mlflow_views import keep_view
from .tracker import ServedModel, StudyTracker, TrackedRun, Tracker, log_study_file, send_journal, uri_fault

__all__ = [
    "FILE",
    "FINISH",
    "START",
    "Journal",
    "KnownRun",
    "ServedModel",
    "StudyTracker",
    "TrackedRun",
    "TrackedStudy",
    "Tracker",
    "configure_mlflow",
    "download_model",
    "find_runs",
    "keep_view",
    "log_artifact",
    "log_study_file",
    "parent_key",
    "probe",
    "read_unsent",
    "send_journal",
    "uri_fault",
]
