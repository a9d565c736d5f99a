"""All commands of the search, registered with the app."""

from __future__ import annotations

from .cli import demo, resume, search, verdict
from .cli_app import app
from .cli_care import doctor
from .cli_curve import curve
from .cli_info import backbones, space, status, sync
from .cli_workers import pause, stop, worker

__all__ = ["app"]

for _command in (
    search, resume, verdict, demo, status, sync, backbones, space, worker, pause, stop, doctor, curve,
):  # fmt: skip
    app.command()(_command)
