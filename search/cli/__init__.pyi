from .application import locate
from .main import app
from .options import StorageOption, StudyArgument, WorkspaceOption

__all__ = [
    "StorageOption",
    "StudyArgument",
    "WorkspaceOption",
    "app",
    "locate",
]
