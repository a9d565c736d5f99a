"""Who holds a TCP port of this machine."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"


def is_taken(host: str, port: int) -> bool:
    """Whether a server could not listen there.

    Raises:
        OSError: It could not for another reason, such as a host that is not of this machine.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that a former server left closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def port_owner(port: int) -> str | None:
    """The process that listens on a port, as ``name (pid 17)``; None where that cannot be seen."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        if not sockets.isdisjoint(_open_files(process)):
            return f"{_command(process)} (pid {process.name})"
    return None


def _listening(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on a port; Linux tells them in /proc."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _open_files(process: Path) -> Iterator[str]:
    """What a process holds open; nothing where it is another user's or has ended."""
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            # A descriptor may be closed between being listed and being read.
            with suppress(FileNotFoundError):
                yield os.readlink(descriptor)


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
