"""The registration of all search commands with the app."""

from __future__ import annotations

from .application import app
from .curve import curve
from .doctor import doctor
from .info import backbones, portfolio, space, status, sync
from .search import demo, resume, search, verdict
from .show import show
from .truncate import truncate
from .winner import export, predict
from .workers import pause, stop, worker

__all__ = ["app"]

for _command in (
    search, resume, verdict, demo, status, sync, backbones, space, portfolio, worker, pause, stop, doctor, curve,
    truncate, export, predict, show,
):  # fmt: skip
    app.command()(_command)
