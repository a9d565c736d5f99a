"""Faults of machines: memory, crashes, clocks, terminals, devices, losses that are not numbers."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import psutil
import torch
from sqlalchemy import Engine, event
from torch import Tensor

from benchmarks.disk_faults import MIDST
from benchmarks.fault_scene import AGAIN, NOW, Scene
from frostline.objectives.networks.network import Network

DAY = 86400.0


def host_memory(scene: Scene) -> None:
    """Nothing more can be allocated."""

    def act() -> None:
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))

    scene.search(at={MIDST: act})


def _while_training(change: Callable[[int, Tensor], Tensor | None]) -> None:
    """Change what networks give while a trial trains them: from the number of the batch and the logits, to others."""
    classify, batches = Network.classify, Counter[int]()

    def changed(network: Network, features: Tensor) -> Tensor:
        logits = classify(network, features)
        if not network.head.training or NOW["trial"] < 0:
            return logits
        batches[NOW["trial"]] += 1
        other = change(batches[NOW["trial"]], logits)
        return logits if other is None else other

    patched: Any = Network
    patched.classify = changed


def device_memory(largest: int) -> Callable[[Scene], None]:
    """The device has memory for so many images of the second trial (simulated)."""

    def full(number: int, logits: Tensor) -> None:
        if NOW["trial"] == 1 and len(logits) > largest:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")

    return lambda scene: void(scene.search(before=lambda: _while_training(full)))


def not_a_number(trials: Collection[int]) -> Callable[[Scene], None]:
    """The fourth batch of some trials gives no numbers."""

    def nan(number: int, logits: Tensor) -> Tensor | None:
        return logits * float("nan") if NOW["trial"] in trials and number == 4 else None

    return lambda scene: void(scene.search(before=lambda: _while_training(nan)))


def void(_: object) -> None:
    """A scenario gives nothing."""


def kill_self(number: int, at: tuple[int, int] = MIDST) -> Callable[[Scene], None]:
    """The search is sent a signal."""
    return lambda scene: void(scene.search(at={at: lambda: os.kill(os.getpid(), number)}))


def kill_slots(number: int, again: bool) -> Callable[[Scene], None]:
    """Workers of a search die by a signal, once or whenever the second trial has run an epoch."""

    def scenario(scene: Scene) -> None:
        def act() -> object:
            for child in psutil.Process().children():
                if any("execution.slot" in word for word in child.cmdline()):
                    child.send_signal(number)
                    if number == signal.SIGSTOP:
                        wake_later(child.pid, 6.0)
            return AGAIN if again else None

        scene.search(at={(1, 0): act}, patience=300.0)

    scenario_more = ["--workers", "2"]

    def with_workers(scene: Scene) -> None:
        scene.more += scenario_more
        scenario(scene)

    return with_workers


def wake_later(pid: int, seconds: float) -> None:
    """A process that is suspended goes on after some seconds."""
    if os.fork() == 0:
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
        os._exit(0)


def suspend(scene: Scene) -> None:
    """Longer than its lease."""

    def act() -> None:
        wake_later(os.getpid(), 6.0)
        os.kill(os.getpid(), signal.SIGSTOP)

    scene.search(at={MIDST: act})


class Clock:
    """A clock that can be set, for Python and SQLite in this process; the monotonic ones go on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + self.ahead
        time.time_ns = lambda: real_ns() + int(self.ahead * 1e9)

        @event.listens_for(Engine, "connect")
        def _(connection: Any, _record: Any) -> None:
            if isinstance(connection, sqlite3.Connection):
                connection.create_function("julianday", 1, self._julian)

    @staticmethod
    def _julian(_: str) -> float:
        return time.time() / DAY + 2440587.5


def clock(seconds: float, at_start: bool = False) -> Callable[[Scene], None]:
    """The clock is set in the middle of a search, or while it is stopped."""

    def running(scene: Scene) -> None:
        set_clock: list[Clock] = []

        def jump() -> None:
            set_clock[0].ahead = seconds

        scene.search(lambda: set_clock.append(Clock()), {MIDST: jump})

    def stopped(scene: Scene) -> None:
        scene.search(at={MIDST: lambda: os.kill(os.getpid(), signal.SIGKILL)})

        def before() -> None:
            Clock().ahead = seconds

        scene.resume(before)

    return stopped if at_start else running


def output_to(make: Callable[[], int]) -> Callable[[Scene], None]:
    """What is printed goes elsewhere from the middle on."""

    def scenario(scene: Scene) -> None:
        def act() -> None:
            os.dup2(make(), 1)

        scene.search(at={MIDST: act})

    return scenario


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def no_current_folder(scene: Scene) -> None:
    def before() -> None:
        gone = scene.folder / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()

    scene.search(before)


def no_temporary_folder(scene: Scene) -> None:
    def before() -> None:
        import tempfile

        tempfile.tempdir = None
        os.environ["TMPDIR"] = str(scene.folder / "nowhere")

    scene.search(before)


def ascii_output(scene: Scene) -> None:
    def before() -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="ascii", errors="strict")  # pyright: ignore[reportAttributeAccessIssue]

    scene.search(before)


def device_lost(where: str, times: int) -> Callable[[Scene], None]:
    """The device refuses all further work of the process (simulated), in the second trial or in the second final.

    Args:
        where: ``trial`` or ``final``.
        times: How often the command is typed again while it is so.
    """

    def scenario(scene: Scene) -> None:
        def before() -> None:
            from frostline.search.execution import finals, retries, started_trial, trials

            class LostError(RuntimeError):
                pass

            patched: tuple[Any, ...] = (retries, trials)
            for module in patched:
                module.is_device_lost = lambda error, device: isinstance(error, LostError)
            module = started_trial if where == "trial" else finals
            logged = module.logged_training

            def losing(log: Any, config: Any, task: Any, **more: Any) -> Any:
                if config.strategy != "partial":
                    return logged(log, config, task, **more)

                def lose() -> Any:
                    raise LostError("CUDA error: an illegal memory access was encountered")

                on_failure = more.get("on_retry") or log.retried
                return retries.run_with_retries(lose, more["retries"], on_failure, task.device)

            module.logged_training = losing

        scene.search(before)
        for _ in range(times - 1):
            scene.resume(before)

    return scenario


def senders() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "sender_process" in " ".join(child.cmdline())]


def kill_sender(scene: Scene) -> None:
    """The process that sends to MLflow dies."""
    scene.real_sender = True

    def act() -> None:
        deadline = time.monotonic() + 20
        while not senders() and time.monotonic() < deadline:
            time.sleep(0.05)
        for sender in senders():
            sender.kill()

    scene.search(at={MIDST: act})


def moved(scene: Scene) -> None:
    """The workspace is moved while the study is stopped."""
    kill_self(signal.SIGKILL)(scene)
    scene.root = scene.root.rename(scene.folder / "moved workspace")


def named(workspace: str) -> Callable[[Scene], None]:
    """A workspace and a dataset with such a name."""

    def scenario(scene: Scene) -> None:
        scene.root = scene.root.rename(scene.folder / workspace)
        kill_self(signal.SIGKILL)(scene)

    return scenario


def linked(scene: Scene) -> None:
    real = scene.root.rename(scene.folder / "elsewhere")
    scene.root = Path(scene.folder / "workspace")
    scene.root.symlink_to(real)
    kill_self(signal.SIGKILL)(scene)
