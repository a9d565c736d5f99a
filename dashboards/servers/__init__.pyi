from .front_end import PLAIN_VIEW, reads_views
from .mlflow_ui import UiError, serve_ui, study_page
from .optuna_ui import optuna_server

__all__ = [
    "PLAIN_VIEW",
    "UiError",
    "optuna_server",
    "reads_views",
    "serve_ui",
    "study_page",
]
