"""Runs a slot on a node of a Ray cluster: a local process represents it, an actor on the node holds its process.

The supervisor treats this process as the slot: it receives the work, forwards the slot's messages and exits with the
slot's status. Each slot has its own, because Ray ends a process whose cluster is lost; the supervisor survives and says
how to continue.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from ...storage.tracking import FILE
from ...storage.workspace import ENVIRONMENT_VARIABLE, STORAGE_VARIABLE
from ..stopping import STOPPED
from .messages import JournalEntry, Message, Note, Waits, decode, encode
from .ray_actor import LISTEN_SECONDS, RaySlotActor

# Maximum wait for a head that does not answer: at the start, and before a running slot is ended.
_CONNECT_SECONDS, _HEADLESS_SECONDS = 15.0, 10.0
# After this time without a place, a slot sends a note.
_WAITING_SECONDS = 5.0


class RayBridge:
    """Connects the supervisor with the actor of a slot.

    Args:
        ray: Ray's module, connected to the cluster.
        host: Handle of the :class:`RaySlotActor`.
        address: Address of the cluster's head.
        line: Stream to the supervisor.
    """

    def __init__(self, ray: Any, host: Any, address: str, line: TextIO) -> None:
        self._ray = ray
        self._host = host
        self._address = address
        self._line = line
        self._stopping = self._told = False
        # Time of the head's last answer.
        self._headed = time.monotonic()

    def run(self, needs: str) -> int:
        """Run until the slot has ended, and return its exit status.

        Args:
            needs: What the slot waits for, for the user.

        Raises:
            SystemExit: The cluster or the slot's node was lost, or the node cannot run the slot.
        """
        signal.signal(signal.SIGTERM, self._stop)
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
        node = self._settle(needs)
        if node is None:
            return STOPPED
        try:
            return self._listen()
        except self._ray.exceptions.RayError as error:
            print(error, file=sys.stderr)
            raise SystemExit(f"Ray lost it on {node}: the node is gone, or its process was killed") from None

    def _settle(self, needs: str) -> str | None:
        """Wait for a place, and return the name of its node; None if the slot was stopped before."""
        self._send(Waits(True))
        asked, began, told = self._host.where.remote(), time.monotonic(), False
        while not self._ray.wait([asked], timeout=LISTEN_SECONDS)[0]:
            if self._stopping:
                return None
            if not told and time.monotonic() - began > _WAITING_SECONDS:
                told = True
                self._send(Note(f"a slot waits for {needs} on the Ray cluster at {self._address}"))
            if self._headless():
                raise SystemExit(_gone(self._address))
        try:
            node, there = self._ray.get(asked)
        except self._ray.exceptions.RayError as error:
            print(error, file=sys.stderr)
            raise SystemExit(
                f"a node of the Ray cluster cannot run it: {str(error).strip().splitlines()[-1]}"
            ) from None
        if there != version("frostline"):
            raise SystemExit(f"{node} has Frostline {there}, and here is {version('frostline')}: install the same")
        self._send(Waits(False))
        return node

    def _listen(self) -> int:
        while True:
            lines, ended = self._ray.get(self._host.lines.remote())
            for line in lines:
                self._pass_on(line)
            if ended is not None:
                status, log = ended
                if status:
                    print(log, file=sys.stderr)
                if self._headless():
                    raise SystemExit(_gone(self._address))
                # A killed process has a negative status; a shell reports 128 plus the signal.
                return status if status >= 0 else 128 - status
            if (self._stopping or self._headless()) and not self._told:
                self._told = True
                self._host.signal.remote(signal.SIGTERM)

    def _headless(self) -> bool:
        """Whether the head is lost: its nodes end some time later, and unread messages are lost with them."""
        if time.monotonic() - self._headed > _HEADLESS_SECONDS / 5 and _answers(self._address):
            self._headed = time.monotonic()
        return time.monotonic() - self._headed > _HEADLESS_SECONDS

    def _pass_on(self, line: str) -> None:
        """Forward a message; first copy a file that it names for MLflow, unless both machines share the file."""
        match decode(line):
            case JournalEntry(kind, _, content) if kind == FILE:
                self._fetch(Path(content["path"]))
        self._line.write(line)
        self._line.flush()

    def _fetch(self, path: Path) -> None:
        stat = path.stat() if path.exists() else None
        known = (stat.st_size, stat.st_mtime_ns) if stat else None
        found = self._ray.get(self._host.fetch.remote(str(path), known))
        if found is not None:
            content, changed = found
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(changed, changed))

    def _send(self, message: Message) -> None:
        self._line.write(encode(message))
        self._line.flush()

    def _stop(self, *_: Any) -> None:
        self._stopping = True


def main() -> None:
    """Run a slot on the cluster, or print the cluster's resources."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--cpus", type=float, default=1.0)
    parser.add_argument("--gpus", type=float, default=0.0)
    parser.add_argument("--survey", action="store_true")
    parser.add_argument("program", nargs="?", default="", help="module of the slot")
    options = parser.parse_args()
    # Standard output is the stream to the supervisor; anything printed goes to the log.
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if options.survey:
        print(json.dumps(_survey(options.address)), file=line, flush=True)
        return
    work = sys.stdin.readline()
    ray = _connect(options.address)
    _silence(options.address)
    needs = {"num_cpus": options.cpus, "num_gpus": options.gpus}
    # One thread waits for the slot's lines while another can send a signal.
    actor = ray.remote(RaySlotActor).options(**needs, max_concurrency=2, scheduling_strategy="SPREAD")
    bridge = RayBridge(ray, actor.remote(options.program, work, _environment(), os.getcwd()), options.address, line)
    sys.exit(bridge.run(f"{options.gpus:g} GPU" if options.gpus else f"{options.cpus:g} CPU"))


def _connect(address: str, patience: float = _CONNECT_SECONDS) -> Any:
    """Connect to a cluster without output, and return Ray's module.

    Args:
        address: Address of the cluster.
        patience: Time for which its head may not answer, as one that restarts, seconds.

    Raises:
        SystemExit: The cluster does not answer, or refuses the connection.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    deadline = time.monotonic() + patience
    while address != "auto" and not _answers(address):
        if time.monotonic() > deadline:
            raise SystemExit(_gone(address))
        time.sleep(1.0)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SystemExit(str(error).strip().splitlines()[0]) from None
    return ray


def _silence(address: str) -> None:
    """Keep Ray's output out of the log: Ray writes the logs of its nodes there when one is lost."""
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    print(f"the Ray cluster at {address} was lost, if nothing else follows", file=sys.stderr, flush=True)


def _survey(address: str) -> dict[str, Any]:
    """The cluster's address and nodes, as plain values."""
    # Whoever types a wrong address waits for the answer.
    ray = _connect(address, patience=0.0)
    nodes = [(node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    found = [
        {"host": host, "cpus": int(has.get("CPU", 0)), "gpus": int(has.get("GPU", 0)), "memory": int(has["memory"])}
        for host, has in nodes
        if has.get("CPU") or has.get("GPU")
    ]
    context = ray.get_runtime_context()
    return {"address": context.gcs_address, "here": ray.util.get_node_ip_address(), "nodes": found}


def _answers(address: str) -> bool:
    """Whether the head of a cluster accepts connections."""
    host, _, port = address.rpartition("://")[2].partition(":")
    try:
        with socket.create_connection((host, int(port or 6379)), timeout=2.0):
            return True
    except (OSError, ValueError):
        return False


def _gone(address: str) -> str:
    return f"the head of the Ray cluster at {address} does not answer"


def _environment() -> dict[str, str]:
    """Environment variables that slots read, except for locations, which the work contains."""
    own = {name: value for name, value in os.environ.items() if name.startswith("FROSTLINE_")}
    own = {name: value for name, value in own.items() if name not in (STORAGE_VARIABLE, ENVIRONMENT_VARIABLE)}
    threads = os.environ.get("OMP_NUM_THREADS")
    return {**own, **({"OMP_NUM_THREADS": threads} if threads else {})}


def _end_with_supervisor() -> None:
    """Stop this process when the supervisor closes its end of standard input."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
