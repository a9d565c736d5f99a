"""Secrets of the environment and of the database's URL are in nothing that a whole search writes, prints or shows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import MetaData, create_engine, make_url, select

from ..noise import write_photos
from ..servers import Server

SECRET = "phunterZ9x7"
_COMMAND = "from frostline.dashboards.cli import main; main()"


def run(here: Path, *words: str, seen: set[str], storage: str) -> str:
    """What a command prints; the command lines of all its processes are added to those that were seen."""
    secrets = dict.fromkeys(("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"), SECRET)
    environment = {**os.environ, **secrets, "FROSTLINE_STORAGE": storage, "FROSTLINE_WORKSPACE": str(here / "ws")}
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *words],
        cwd=here,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            try:
                for each in (watched := psutil.Process(process.pid), *watched.children(recursive=True)):
                    seen.add(" ".join(each.cmdline()))
            except psutil.Error:
                continue

    looking = threading.Thread(target=look)
    looking.start()
    said, _ = process.communicate(timeout=300)
    ended.set()
    looking.join()
    return said


def texts_of(url: str) -> Iterator[str]:
    """All that a database holds, as text."""
    engine = create_engine(url)
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            yield from (str(tuple(row)) for row in connection.execute(select(table)))
    engine.dispose()


@pytest.mark.slow
def test_no_secret_is_in_anything_that_a_search_leaves(tmp_path: Path, postgres: Server) -> None:
    # The server lets everybody in, whatever the password.
    url = make_url(postgres.create_database(f"secret{uuid.uuid4().hex}"))
    storage = url.set(password=SECRET).render_as_string(hide_password=False)
    assert SECRET in storage
    write_photos(tmp_path / "photos", {"cat": 14, "dog": 14}, size=(16, 16))
    seen: set[str] = set()
    network = ("--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32", "--device", "cpu")
    small = ("--trials", "3", "--strategy", "full", "--strategy", "scratch", "--seeds", "1", "--workers", "2")
    said = [run(tmp_path, "search", "photos", "--name", "s", *network, *small, seen=seen, storage=storage)]
    assert "wins" in said[0] or "Undecided" in said[0], said[0]
    for words in (
        ("status", "s", "--json"),
        ("verdict", "s", "--json"),
        ("report", "s"),
        ("doctor", "s"),
        ("doctor",),
        ("export", "s", "--to", "exported"),
        ("resume", "s", "--trials", "1"),
        ("worker", "unknown"),
    ):
        said.append(run(tmp_path, *words, seen=seen, storage=storage))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 60
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
    assert [text for text in said if SECRET in text] == []
    assert any("frostline" in line for line in seen)
    assert [line for line in seen if SECRET in line] == []
    assert [text for text in texts_of(storage) if SECRET in text] == []
