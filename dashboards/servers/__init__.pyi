from .mlflow_ui import UiError, serve_ui, study_page
from .optuna_ui import optuna_server

__all__ = [
    "UiError",
    "optuna_server",
    "serve_ui",
    "study_page",
]
