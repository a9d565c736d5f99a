"""Slots on a Ray cluster: their places and shares.

Ray places processes and reports lost ones. The study's database has all work, as without Ray. So a slot is the same as
on one machine, except for the process that brings it to a node (``ray_bridge.py``), and a study whose cluster is gone
continues with any other workers.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from math import ceil, floor

from ...objectives.errors import InvalidInputError
from ...objectives.sizes import parse_size
from ...storage.workspace import Workspace
from .process import SlotSpec
from .resources import Resources

RAY_SLOT = "frostline.search.slots.ray_bridge"
DEVICES = ("auto", "cpu", "cuda")
# Of a node's memory, for features, as on one machine.
_MEMORY_SHARE = 4
_SURVEY_SECONDS = 120.0


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        host: IP address.
        cpus: Number of CPUs that Ray allocates.
        gpus: Number of GPUs that Ray allocates.
        memory: Memory in bytes.
    """

    host: str
    cpus: int
    gpus: int
    memory: int


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster.

    Attributes:
        address: Address of its head.
        here: IP address of this machine in the cluster.
        nodes: Running nodes with CPUs or GPUs.
    """

    address: str
    here: str
    nodes: tuple[Node, ...]

    @property
    def gpus(self) -> int:
        return sum(node.gpus for node in self.nodes)


@cache
def survey(address: str | None) -> Cluster:
    """Return the nodes of a cluster, asked once, in a separate process, because Ray may end the process that asks.

    Raises:
        InvalidInputError: Ray is not installed, or no cluster answers.
    """
    if importlib.util.find_spec("ray") is None:
        raise InvalidInputError("--engine ray needs Ray. Install it, on all nodes, with: pip install 'frostline[ray]'")
    command = [sys.executable, "-P", "-m", RAY_SLOT, "--survey", "--address", address or "auto"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_SURVEY_SECONDS, check=False)
        said, failed = asked.stderr.strip().splitlines(), asked.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed, asked = [f"no answer in {_SURVEY_SECONDS:.0f} s"], True, None
    if failed or asked is None:
        raise InvalidInputError(
            f"No Ray cluster answers at {address or 'this machine'} ({said[-1] if said else 'no reason given'}). "
            "Start one with: ray start --head; or name another with --address HOST:6379."
        )
    found = json.loads(asked.stdout.splitlines()[-1])
    return Cluster(found["address"], found["here"], tuple(Node(**node) for node in found["nodes"]))


def check(cluster: Cluster, resources: Resources, workspace: Workspace) -> None:
    """Check whether a study of a workspace can run on a cluster.

    Raises:
        InvalidInputError: It cannot; the message names all faults.
    """
    faults = list[str]()
    if resources.device not in DEVICES:
        faults.append(f"--device {resources.device} is of one machine. With --engine ray: {', '.join(DEVICES)}.")
    if resources.device == "cuda" and not cluster.gpus:
        faults.append(f"The Ray cluster at {cluster.address} has no GPU. Take --device cpu.")
    if not cluster.nodes:
        faults.append(f"The Ray cluster at {cluster.address} has no CPUs to give. Add nodes: ray start --address ...")
    hosts = {node.host for node in cluster.nodes}
    if workspace.studies_url.startswith("sqlite") and not hosts <= {cluster.here}:
        faults.append(
            f"The Ray cluster at {cluster.address} has {len(hosts)} machines, and SQLite is for one. Name a database "
            "that all of them reach with --storage postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
        )
    if faults:
        raise InvalidInputError(faults)


def on_gpus(cluster: Cluster, resources: Resources) -> bool:
    """Return whether trials run on GPUs."""
    return resources.device != "cpu" and cluster.gpus > 0


def places(cluster: Cluster, resources: Resources) -> list[SlotSpec]:
    """Return the places of the slots: a share of a GPU and a CPU each, or an even share of the nodes' CPUs."""
    return _on_gpus(cluster, resources) if on_gpus(cluster, resources) else _on_cpus(cluster, resources)


def _on_gpus(cluster: Cluster, resources: Resources) -> list[SlotSpec]:
    count = resources.workers or cluster.gpus * resources.slots_per_gpu
    together = max(resources.slots_per_gpu, ceil(count / cluster.gpus))
    # Ray's resources have a precision of 0.0001.
    share = floor(10_000 / together) / 10_000
    launcher = _launcher(cluster, "--gpus", str(share), "--cpus", "1")
    return [SlotSpec("cuda", {}, 0, launcher)] * count


def _on_cpus(cluster: Cluster, resources: Resources) -> list[SlotSpec]:
    threads = max(1, min(node.cpus for node in _with_cpus(cluster)) // _a_node(cluster, resources))
    environment, launcher = {"OMP_NUM_THREADS": str(threads)}, _launcher(cluster, "--cpus", str(threads))
    return [SlotSpec("cpu", environment, threads, launcher)] * (resources.workers or len(_with_cpus(cluster)))


def share(cluster: Cluster, resources: Resources) -> int | None:
    """Return the cache size of each slot in bytes, from the budget per machine; None for the default."""
    size = parse_size(resources.cache_budget)
    if size is None:
        if on_gpus(cluster, resources):
            return None
        size = min(node.memory for node in cluster.nodes) // _MEMORY_SHARE
    return size // _a_node(cluster, resources)


def _a_node(cluster: Cluster, resources: Resources) -> int:
    """Return the maximum number of slots that share a node."""
    if on_gpus(cluster, resources):
        count = resources.workers or cluster.gpus * resources.slots_per_gpu
        return ceil(count * max(node.gpus for node in cluster.nodes) / cluster.gpus)
    return ceil((resources.workers or 1) / len(_with_cpus(cluster)))


def _with_cpus(cluster: Cluster) -> list[Node]:
    return [node for node in cluster.nodes if node.cpus]


def _launcher(cluster: Cluster, *needs: str) -> tuple[str, ...]:
    return (RAY_SLOT, "--address", cluster.address, *needs)
