"""The faults that happen to a search, and what is expected of each."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import disk_faults as disks
from benchmarks import input_faults as inputs
from benchmarks import machine_faults as machines
from benchmarks import server_faults as servers
from benchmarks.fault_scene import Ended, Scene
from benchmarks.server_faults import MlflowFaults

GOES_ON, STOPS, REFUSED, EITHER = "goes on", "stops and resumes", "is refused, then resumes", "either"
FAILS_TRIAL, ENDS = "the trial fails, others go on", "ends with the reason"
_KEPT = {"failed": 1, "scores": 1}


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: What.
        place: With what: the kind of file, the process, the server.
        expected: What a search must do.
        happen: Makes it go wrong in a scene, and sets it right.
        allowed: What may be counted as damage: a trial that must fail has failed.
        mends: Whether the doctor may find something, which it must mend: a damaged file that nobody reads again.
        mounts: Whether it takes a disk.
        server: Whether it takes an MLflow server.
    """

    name: str
    place: str
    expected: str
    happen: Callable[[Scene], None]
    allowed: Mapping[str, int] = field(default_factory=dict)
    mends: bool = False
    mounts: bool = False
    server: bool = False

    @property
    def ends(self) -> bool:
        """Whether the study has no end but the reason."""
        return self.expected == ENDS

    def is_met(self, ended: Sequence[Ended]) -> bool:
        """Whether the commands did what was expected."""
        codes = [each.code for each in ended if each.command.split()[0] in ("search", "resume")]
        explained = all(each.last for each in ended if each.code)
        match self.expected:
            case "goes on" | "the trial fails, others go on":
                return codes[0] == 0
            case "is refused, then resumes":
                return any(code in (1, 2) for code in codes) and explained
            case "ends with the reason":
                return codes[-1] in (1, 2) and explained
            case _:
                return None not in codes


def every_fault() -> list[Fault]:
    return [*_disks(), *_torn(), *_machines(), *_databases(), *_mlflow(), *_inputs()]


def _disks() -> Iterator[Fault]:
    for place, (folder, at_once) in disks.FOLDERS.items():
        yield Fault("disk full", place, EITHER, disks.full(folder, at_once), mounts=True)
        yield Fault("read-only disk", place, EITHER, disks.readonly(folder, at_once), mounts=True)
        yield Fault("permission lost", place, EITHER, disks.forbidden(folder, at_once))
    yield Fault("disk full", "whole workspace", STOPS, disks.full_workspace(None), mounts=True)
    yield Fault("disk full for 3 s", "whole workspace", EITHER, disks.full_workspace(3.0), mounts=True)
    yield Fault("disk full", "studies' database", STOPS, disks.full_database(False), mounts=True)
    yield Fault("disk full", "MLflow's database", EITHER, disks.full_database(True), mounts=True)
    yield Fault("read-only disk", "whole workspace", EITHER, disks.readonly_workspace, mounts=True)
    yield Fault("permission lost", "whole workspace", EITHER, disks.forbidden_workspace)
    unwritable = disks.readers(disks.make_unwritable, disks.make_writable)
    yield Fault("workspace not writable", "commands that read", EITHER, unwritable)
    yield Fault("largest file 64 KB", "all files", EITHER, disks.limited(resource.RLIMIT_FSIZE, lambda: 2**16))
    yield Fault("too many open files", "all files", EITHER, disks.limited(resource.RLIMIT_NOFILE, disks.open_files))
    for place, pattern in (("decoded images", "images/*"), ("features", "features/*.features"), ("stages", "stages/*")):
        yield Fault("deleted while it runs", place, EITHER, disks.remove(pattern))
    yield Fault("deleted while it runs", "checkpoints", EITHER, disks.remove("checkpoints"))
    yield Fault("deleted while it runs", "journal", GOES_ON, disks.remove("journal"))


def _torn() -> Iterator[Fault]:
    for place, pattern in disks.TORN.items():
        again = place in ("features", "stages")
        yield Fault("cut off by a power failure", place, STOPS, disks.torn(pattern, disks.cut), mends=again)
        yield Fault("zeros after a power failure", place, STOPS, disks.torn(pattern, disks.zeros), mends=again)
        yield Fault("empty after a power failure", place, STOPS, disks.torn(pattern, disks.empty), mends=again)


def _machines() -> Iterator[Fault]:
    yield Fault("out of memory", "host", EITHER, machines.host_memory)
    yield Fault("memory for half a batch", "device", GOES_ON, machines.device_memory(8), {"scores": 1})
    yield Fault("out of memory", "device", FAILS_TRIAL, machines.device_memory(0), _KEPT)
    yield Fault("loss not a number", "one trial", FAILS_TRIAL, machines.not_a_number([1]), _KEPT)
    everything = {"failed": 3, "scores": 3}
    yield Fault("loss not a number", "all trials", ENDS, machines.not_a_number(range(3)), everything)
    yield Fault("segmentation fault", "the search", STOPS, machines.kill_self(signal.SIGSEGV))
    yield Fault("segmentation fault", "workers, once", GOES_ON, machines.kill_slots(signal.SIGSEGV, again=False))
    always = machines.kill_slots(signal.SIGSEGV, again=True)
    yield Fault("segmentation fault", "workers, in one trial", FAILS_TRIAL, always, {"failed": 2, "scores": 2})
    yield Fault("bus error", "workers, once", GOES_ON, machines.kill_slots(signal.SIGBUS, again=False))
    yield Fault("killed", "workers, once", GOES_ON, machines.kill_slots(signal.SIGKILL, again=False))
    yield Fault("suspended beyond the lease", "workers", GOES_ON, machines.kill_slots(signal.SIGSTOP, again=False))
    yield Fault("suspended beyond the lease", "the search", GOES_ON, machines.suspend)
    for number, place in (
        (signal.SIGKILL, "in a trial"),
        (signal.SIGTERM, "in a trial"),
        (signal.SIGHUP, "in a trial"),
    ):
        yield Fault(number.name, f"the search, {place}", STOPS, machines.kill_self(number))
    yield Fault("SIGINT", "the search, in a trial", STOPS, machines.kill_self(signal.SIGINT))
    yield Fault("killed", "the sender to MLflow", GOES_ON, machines.kill_sender)
    for days, word in ((1, "forwards"), (-1, "backwards"), (400, "forwards by a year"), (-400, "backwards by a year")):
        yield Fault(f"clock set {word}", "in a trial", GOES_ON, machines.clock(days * machines.DAY))
        yield Fault(
            f"clock set {word}", "while it is stopped", STOPS, machines.clock(days * machines.DAY, at_start=True)
        )
    yield Fault("closed pipe", "output", EITHER, machines.output_to(machines.closed_pipe))
    yield Fault("disk full", "output", EITHER, machines.output_to(machines.full_device))
    yield Fault("no Unicode", "output", GOES_ON, machines.ascii_output)
    yield Fault("deleted", "current folder", EITHER, machines.no_current_folder)
    yield Fault("missing", "temporary folder", GOES_ON, machines.no_temporary_folder)
    yield Fault("device lost", "a trial, always", EITHER, machines.device_lost("trial", 3), {"failed": 1})
    yield Fault("device lost", "a final, always", STOPS, machines.device_lost("final", 5))
    yield Fault("moved", "workspace, while it is stopped", STOPS, machines.moved)
    yield Fault("spaces and quotes in the path", "workspace", STOPS, machines.named("my work space's é"))
    yield Fault("a link", "workspace", STOPS, machines.linked)


def _databases() -> Iterator[Fault]:
    yield Fault("locked for 8 s", "studies' database", GOES_ON, servers.locked("studies.db", 8.0))
    yield Fault("locked for 62 s", "studies' database", EITHER, servers.locked("studies.db", 62.0))
    yield Fault("locked for 62 s", "MLflow's database", GOES_ON, servers.locked("mlflow.db", 62.0))
    yield Fault("away", "studies' database", REFUSED, servers.absent)
    yield Fault("header damaged", "studies' database", REFUSED, servers.damaged(0, 100))
    yield Fault("a page damaged", "studies' database", REFUSED, servers.damaged(4096, 4096))
    yield Fault("an older copy", "studies' database", EITHER, servers.restored)
    yield Fault("server crashes and restarts", "PostgreSQL", GOES_ON, servers.postgres_restarted)
    for command in (
        "resume STUDY",
        "verdict STUDY",
        "doctor STUDY --fix",
        "status STUDY",
        "report STUDY",
        "worker STUDY",
    ):
        second = servers.beside(*command.split())
        yield Fault(f"a second command: {command.replace(' STUDY', '')}", "the same workspace", EITHER, second)


def _mlflow() -> Iterator[Fault]:
    def fault(name: str, make: Callable[[MlflowFaults], Callable[[Scene], None]]) -> Fault:
        return Fault(name, "MLflow", GOES_ON, lambda scene: make(MlflowFaults(scene.mlflow))(scene), server=True)

    for kind in ("500", "401", "404", "429", "slow", "never", "garbage", "cut", "redirect"):
        name = f"answers {kind}" if kind.isdigit() else {"never": "never answers", "slow": "answers slowly"}.get(kind)
        yield fault(name or f"answers with {kind}", lambda faults, kind=kind: faults.answers(kind))
    yield fault("answers 500 from the beginning", lambda faults: faults.answers("500", at_once=True))
    yield fault("answers 500 for 3 s", lambda faults: faults.hiccup("500", 3.0))


def _inputs() -> Iterator[Fault]:
    changes = {
        "an image repainted": inputs.repaint,
        "an image cut off": inputs.truncate,
        "an image deleted": inputs.delete_one,
        "an image added": inputs.add_one,
        "a class renamed": inputs.rename_class,
        "all images deleted": inputs.delete_all,
        "images moved away": inputs.move_away,
    }
    for name, change in changes.items():
        yield Fault(name, "dataset, while it is stopped", REFUSED, inputs.images(change))
        if change is not inputs.move_away:
            yield Fault(name, "dataset, while it runs", EITHER, inputs.images(change, running=True))
    named = inputs.images(inputs.delete_one, running=True, name="my photos' é")
    yield Fault("spaces and quotes in the path", "dataset", EITHER, named)
    changes = {
        "replaced": inputs.replace_weights,
        "cut off": inputs.truncate_weights,
        "not numbers": inputs.nan_weights,
        "deleted": inputs.delete_all,
        "code": inputs.code_in_weights,
    }
    for name, change in changes.items():
        yield Fault(name, "weights, while it is stopped", REFUSED, inputs.weights(change))
    yield Fault("replaced", "weights, while it runs", EITHER, inputs.weights(inputs.replace_weights, running=True))
