"""TCP ports of this machine: whether one is taken, and by which process."""

from __future__ import annotations

import errno
import socket

import psutil


def is_taken(host: str, port: int) -> bool:
    """Return whether another process already listens on a port.

    Args:
        host: Address to listen on.
        port: Port number.

    Raises:
        OSError: No server can listen there for another reason, such as an address of another machine.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Servers set this too: closing connections of a former server do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


def port_owner(port: int) -> str | None:
    """Return the process that listens on a port, as ``name (pid 17)``; None if it cannot be determined."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    listening = (each for each in connections if each.status == psutil.CONN_LISTEN)
    # For other users' processes only the socket is visible, without a pid.
    pid = next(
        (each.pid for each in listening if each.laddr and each.laddr.port == port and each.pid is not None), None
    )
    return None if pid is None else f"{_name(pid)} (pid {pid})"


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "a process"
