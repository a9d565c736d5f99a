"""Commands on studies, and databases, that are refused."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from .rows import Make, Row, command, text


def table(*statements: str) -> Make:
    """A database of other tables in the place of the studies'."""

    def make(here: Path) -> None:
        (here / "other").mkdir()
        with closing(sqlite3.connect(here / "other/studies.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return make


def changed(statement: str) -> Make:
    """The database of the known study, changed by a later version."""

    def make(here: Path) -> None:
        shutil.copytree(here / "ws", here / "other")
        with closing(sqlite3.connect(here / "other/studies.db")) as connection, connection:
            assert connection.execute(statement).rowcount != 0

    return make


def cut_off(here: Path) -> None:
    shutil.copytree(here / "ws", here / "other")
    file = here / "other/studies.db"
    file.write_bytes(file.read_bytes()[:1000])


COMMANDS = {
    "portfolio without a finished study": command("portfolio p.json", "no finished study", "frostline search DATA"),
    "portfolio without a file": command("portfolio", "Missing argument 'file'"),
    **{
        f"{name} of an unknown study": command(f"{name} knwn", "knwn", "known")
        for name in (
            "resume",
            "worker",
            "pause",
            "stop",
            "status",
            "verdict",
            "curve",
            "report",
            "doctor",
            "ui",
            "sync",
        )
    },
    **{
        f"{name} without a study": command(name, "Missing argument")
        for name in ("resume", "worker", "pause", "stop", "verdict", "curve", "report")
    },
    **{
        f"{name} in a workspace that is a file": command(f"{name} known -w file", "is a file", make=text("file"))
        for name in (
            "resume",
            "worker",
            "pause",
            "stop",
            "status",
            "verdict",
            "curve",
            "report",
            "doctor",
            "ui",
            "sync",
        )
    },
    **{
        f"{name} in a workspace that is none": command(f"{name} known -w nowhere", "known")
        for name in (
            "resume",
            "worker",
            "pause",
            "stop",
            "status",
            "verdict",
            "curve",
            "report",
            "doctor",
            "ui",
            "sync",
        )
    },
    "search without data": command("search", "Missing argument"),
    "unknown command": command("serach photos", "serach"),
    "resume --trials of a word": command("resume known --trials x", "--trials"),
    "resume --trials below": command("resume known --trials 1", "--trials"),
    "resume --trials 0": command("resume known --trials 0", "--trials"),
    "resume --stop-when-sure of a percentage": command("resume known --stop-when-sure 95", "0.95", "1 runs all trials"),
    "resume --budget of a word": command("resume known --budget x", "--budget", "'x'", "20m"),
    "resume --budget 0": command("resume known --budget 0s", "more than 0"),
    "resume --budget without unit": command("resume known --budget 20", "'20'", "20m"),
    "resume --budget to add to none": command("resume known --budget +10m", "no budget to add to", "--budget 30m"),
    "resume --device unknown": command("resume known --device tpu", "tpu"),
    "resume --fork to itself": command("resume known --fork known", "known"),
    "resume --fork bad name": command("resume known --fork a/b", "--fork"),
    "resume of data that went": command("resume known", "gone"),
    "worker --data missing": command("worker known --data nowhere", "nowhere"),
    "verdict of data that went": command("verdict known", "gone"),
    "curve --sizes of a word": command("curve known --sizes many", "--sizes"),
    "curve --sizes 0": command("curve known --sizes 0", "--sizes"),
    "curve --sizes negative": command("curve known --sizes -5", "--sizes"),
    "curve --sizes 1/0": command("curve known --sizes 1/0", "--sizes"),
    "curve --seeds 0": command("curve known --seeds 0", "--seeds"),
    "status --watch --json": command("status known --watch --json", "--watch and --json"),
    "status --watch of none": command("status --watch", "--watch"),
    "backbones misspelt": command("backbones resnt18", "resnet18"),
    "backbones of a word": command("backbones resnet18 --image-size x", "--image-size"),
    "backbones too small": command("backbones resnet18 --image-size 1", "16"),
    "space of missing data": command("space nowhere", "nowhere"),
    **{
        f"{name} of {channels} channels": command(f"{name} --channels {channels}", "--channels must be at", channels)
        for name in ("space", "space photos")
        for channels in ("0", "-1", "1001")
    },
    "space of an unknown strategy": command("space -s ful", "full"),
    "demo --device unknown": command("demo --device tpu", "tpu"),
    "report into a folder": command("report known -o photos", "photos"),
    "report below a file": command("report known -o file/x.html", "file/x.html", "another file", make=text("file")),
    "ui --port of a word": command("ui known --port x", "--port"),
    "ui --port too large": command("ui known --port 99999", "--port", "65535"),
    "ui --port negative": command("ui known --port -1", "--port"),
    "ui of an empty workspace": command("ui -w nowhere", "frostline search DATA"),
}

ENVIRONMENT = {
    f"{name}={value}": Row(("status",), (value,), text("file"), env={name: value})
    for name, value in (
        ("FROSTLINE_WORKSPACE", "file"),
        ("FROSTLINE_WORKSPACE", "what?"),
        ("FROSTLINE_STORAGE", "nonsense"),
        ("FROSTLINE_STORAGE", "nope://x"),
        ("FROSTLINE_LEASE_SECONDS", "soon"),
    )
}

DATABASES = {
    "a database that was cut off": command("status -w other", "studies.db", "another workspace", make=cut_off),
    "a database of text": command("status -w other", "studies.db", make=text("other/studies.db", "hello" * 1000)),
    "a database of another program": command("status -w other", "studies.db", make=table("CREATE TABLE studies (x)")),
    "a database of a later version": command(
        "status known -w other",
        "Frostline 9.9",
        "Install",
        make=changed("INSERT INTO frostline_migrations VALUES (999, 'a change', '9.9', '2030-01-01')"),
    ),
    "a database of a later Optuna": command(
        "status -w other", "optuna", "pip install", make=changed("UPDATE alembic_version SET version_num = 'v9'")
    ),
}
