"""The Ray engine: what slots get of a cluster, what is refused, and a node that is lost while it trains."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.damage import judge
from benchmarks.resumed_search import NAME, Search
from frostline.objectives.errors import InvalidInputError
from frostline.search.slots import Resources, ray_cluster
from frostline.search.slots.engines import check_resources
from frostline.search.slots.ray_actor import RaySlotActor
from frostline.search.slots.ray_cluster import Cluster, Node
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

GB = 10**9
CPUS = Cluster("10.0.0.1:6379", "10.0.0.1", (Node("10.0.0.1", 4, 0, 16 * GB), Node("10.0.0.2", 8, 0, 32 * GB)))
GPUS = Cluster("10.0.0.1:6379", "10.0.0.1", (Node("10.0.0.2", 16, 2, 64 * GB), Node("10.0.0.3", 16, 2, 64 * GB)))


def needs(cluster: Cluster, resources: Resources) -> list[dict[str, float]]:
    """What each slot asks of the cluster."""
    programs = [place.launcher for place in ray_cluster.places(cluster, resources)]
    return [{each[at][2:]: float(each[at + 1]) for at in (3, 5) if at < len(each)} for each in programs]


def test_without_gpus_there_is_a_slot_a_node_or_as_many_as_wished() -> None:
    assert needs(CPUS, Resources(engine="ray")) == [{"cpus": 4}] * 2
    assert needs(CPUS, Resources(engine="ray", workers=5)) == [{"cpus": 1}] * 5
    assert needs(CPUS, Resources(engine="ray", workers=20)) == [{"cpus": 1}] * 20
    places = ray_cluster.places(CPUS, Resources(engine="ray", workers=4))
    assert {(place.device, place.threads, place.environment["OMP_NUM_THREADS"]) for place in places} == {
        ("cpu", 2, "2")
    }


def test_gpus_are_shared_out() -> None:
    assert needs(GPUS, Resources(engine="ray")) == [{"gpus": 1, "cpus": 1}] * 4
    assert needs(GPUS, Resources(engine="ray", slots_per_gpu=3)) == [{"gpus": 0.3333, "cpus": 1}] * 12
    assert needs(GPUS, Resources(engine="ray", workers=6)) == [{"gpus": 0.5, "cpus": 1}] * 6
    assert needs(GPUS, Resources("cpu", engine="ray")) == [{"cpus": 16}] * 2
    assert {place.device for place in ray_cluster.places(GPUS, Resources(engine="ray"))} == {"cuda"}


def test_the_slots_of_a_node_share_its_cache_budget() -> None:
    assert ray_cluster.share(CPUS, Resources(engine="ray", cache_budget="1GB", workers=4)) == GB // 2
    assert ray_cluster.share(CPUS, Resources(engine="ray", workers=4)) == 16 * GB // 4 // 2
    assert ray_cluster.share(GPUS, Resources(engine="ray", cache_budget="1GB", slots_per_gpu=2)) == GB // 4
    assert ray_cluster.share(GPUS, Resources(engine="ray")) is None


def refused(resources: Resources, workspace: Workspace) -> list[str]:
    with pytest.raises(InvalidInputError) as refusal:
        check_resources(resources, workspace)
    return refusal.value.faults


def test_what_cannot_be_is_refused_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "survey", lambda address: CPUS)
    local, shared = Workspace(tmp_path), Workspace(tmp_path, "postgresql+psycopg://me:secret@db/frostline")
    [of_several] = refused(Resources(engine="ray"), local)
    assert "2 machines" in of_several
    assert "--storage postgresql" in of_several
    check_resources(Resources(engine="ray"), shared)
    [no_gpu] = refused(Resources("cuda", engine="ray"), shared)
    assert "--device cpu" in no_gpu
    assert len(refused(Resources("mps", engine="ray"), local)) == 2
    assert "--engine ray" in refused(Resources(address="10.0.0.1:6379"), local)[0]
    assert "ray" in refused(Resources(engine="rya"), local)[0]


def test_without_ray_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'frostline[ray]'" in refused(Resources(engine="ray", address="nowhere"), Workspace(tmp_path))[0]


def test_a_file_is_fetched_unless_this_machine_sees_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mistakes.png"
    file.write_bytes(b"pixels")
    stat = file.stat()
    # What it reads is not about the process that it holds.
    host = RaySlotActor.__new__(RaySlotActor)
    assert host.fetch(str(file), None) == (b"pixels", stat.st_mtime_ns)
    assert host.fetch(str(file), (stat.st_size, stat.st_mtime_ns - 1)) == (b"pixels", stat.st_mtime_ns)
    assert host.fetch(str(file), (stat.st_size, stat.st_mtime_ns)) is None


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="no Ray: pip install 'frostline[ray]'")
    [fault] = refused(Resources(engine="ray", address="127.0.0.1:1"), Workspace(tmp_path))
    assert "127.0.0.1:1" in fault
    assert "ray start --head" in fault


# A real cluster: nodes are processes of this machine


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, and three nodes with one each."""
    pytest.importorskip("ray", reason="no Ray: pip install 'frostline[ray]'")
    Nodes = importlib.import_module("ray.cluster_utils").Cluster  # noqa: N806

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    small = {"object_store_memory": 80_000_000, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        for _ in range(3):
            nodes.add_node(num_cpus=1, **small)
        yield nodes
    finally:
        nodes.shutdown()


def wait_for(condition: Callable[[], Any], search: Search, seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, search.output.read_text()
        assert search.process.poll() is None, search.output.read_text()
        time.sleep(0.2)
    return found


def parents(pid: int) -> list[int]:
    """A process and those that it descends from."""
    found = []
    while pid > 1:
        found.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def at_work(workspace: Workspace) -> list[tuple[int, int]]:
    """Trials that workers have, and their processes, once some were done."""
    try:
        study = Study.load(NAME, workspace)
    except InvalidInputError:
        return []
    held, done = study.tickets.held(), study.tickets.counts()[1]
    study.close()
    return [(each.number, int(each.owner.split("/")[2])) for each in held] if done >= 2 else []


# Ray opens pipes, sockets and logs that it leaves to the end of the process.
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ResourceWarning",
)
@pytest.mark.slow
def test_a_trial_whose_node_is_lost_is_finished_on_another_as_if_nothing_had_been(
    tmp_path: Path, cluster: Any, tracking_database: Path
) -> None:
    ray = ("--engine", "ray", "--address", cluster.address)
    (tmp_path / "workspace").mkdir()
    shutil.copy(tracking_database, tmp_path / "workspace")
    search = Search(tmp_path, None, workers=2, trials=5, epochs=60, more=ray)
    try:
        number, pid = wait_for(lambda: at_work(search.workspace), search)[0]
        line = parents(pid)
        [node] = [each for each in cluster.worker_nodes if each.all_processes["raylet"][0].process.pid in line]
        cluster.remove_node(node, allow_graceful=False)
        os.kill(pid, signal.SIGKILL)
        search.finish(240.0)
    finally:
        search.end()
    said = search.output.read_text()
    assert search.resumed == 0
    # Whether Ray or the slot's process is heard of first.
    assert re.search(r"slot \d ended \((Ray lost it|killed by SIGKILL).*\) and restarts", said)
    assert f"trial {number} was interrupted and resumes" in said
    damage = judge(NAME, search.workspace, search.trials)
    assert dataclasses.asdict(damage) == dict.fromkeys(dataclasses.asdict(damage), 0)
