"""Who holds a TCP port of this machine."""

from __future__ import annotations

import errno
import socket

import psutil


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
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    listening = (each for each in connections if each.status == psutil.CONN_LISTEN)
    # Of another user's process only the socket is seen.
    pid = next(
        (each.pid for each in listening if each.laddr and each.laddr.port == port and each.pid is not None), None
    )
    return None if pid is None else f"{_name(pid)} (pid {pid})"


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "a process"
