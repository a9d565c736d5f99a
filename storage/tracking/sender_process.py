"""The process that imports MLflow and uploads records, so that training does not share its interpreter and cores.

Parent and child exchange lines of JSON over the child's standard input and output: first the store's address, which may
contain secrets and is therefore no argument of the command; then records, and a result for each message. The child
never opens a journal. It ends when its input ends, even if the parent is killed, after uploading what it has received.
The next process sends records without a result again; this logs nothing twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO, cast

from ..errors import StorageError, UnreachableError
from ..program import run_program
from ..workspace import Workspace
from .delivery import Delivery, Receipt
from .journal_records import JournalRecord
from .mlflow_settings import configure_mlflow
from .study_mark import StudyMark

_END_SECONDS = 10.0
_NICE = 10
# The cores are for training.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class SenderProcess:
    """Uploads records of one study from a child process, which is started when first needed and restarted if it dies.

    Args:
        uri: URI of the tracking store.
        workspace: Workspace of the study.
        mark: Mark of the study.
    """

    def __init__(self, uri: str, workspace: Workspace, mark: StudyMark) -> None:
        self._address = {"uri": uri, "root": str(workspace.root.absolute()), "mark": asdict(mark)}
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def deliver(self, records: Sequence[JournalRecord]) -> Receipt:
        """Call :meth:`Delivery.deliver` in the child process.

        Raises:
            UnreachableError: The store does not answer or takes nothing, or the child process died twice.
        """
        message = [vars(record) for record in records]
        try:
            answer = self._ask(message)
        except UnreachableError:
            # The child may have been killed, even long ago: retry once with a new one.
            answer = self._ask(message)
        if answer["error"] is not None:
            raise UnreachableError(answer["error"])
        # JSON has no numbers as keys.
        return Receipt({int(seq): why for seq, why in answer["refused"].items()}, answer["notes"])

    def close(self) -> None:
        """Let the process finish and exit. Call this from the thread that delivers."""
        if (process := self._process) is not None:
            with suppress(OSError):
                _input(process).close()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            self._let_go(process)

    def kill(self) -> None:
        """Kill the process, and start no other. Callable from any thread."""
        self._ended = True
        if (process := self._process) is not None:
            process.kill()

    def _ask(self, message: Any) -> dict[str, Any]:
        try:
            process = self._start()
            _write(_input(process), message)
            return json.loads(_output(process).readline())
        except (OSError, ValueError) as error:
            raise UnreachableError(f"The process that sends to MLflow {self._fate(error)}") from None

    def _start(self) -> subprocess.Popen[str]:
        if self._ended:
            raise OSError("was ended")
        if self._process is None:
            # A new session: Ctrl-C in the terminal must reach the search only, which closes this process.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD},
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
            if self._ended:
                self._process.kill()
            _write(_input(self._process), self._address)
        return self._process

    def _fate(self, error: Exception) -> str:
        """Describe how the process ended, and forget it, so that the next attempt starts another."""
        if (process := self._process) is None:
            return f"cannot be started: {error}"
        process.kill()
        return f"ended unexpectedly (status {self._let_go(process)})"

    def _let_go(self, process: subprocess.Popen[str]) -> int:
        status, self._process = process.wait(), None
        _output(process).close()
        with suppress(OSError):
            _input(process).close()
        return status


def main() -> None:
    """Run the child: deliver records until the input ends."""
    configure_mlflow()
    os.nice(_NICE)
    with _private_output() as answers:
        address = json.loads(sys.stdin.readline())
        workspace, mark = Workspace(Path(address["root"])), StudyMark(**address["mark"])
        with closing(Delivery(address["uri"], workspace, mark)) as delivery:
            for line in sys.stdin:
                _write(answers, _try(delivery, [JournalRecord(**record) for record in json.loads(line)]))


def _try(delivery: Delivery, records: list[JournalRecord]) -> dict[str, Any]:
    try:
        return {**asdict(delivery.deliver(records)), "error": None}
    except StorageError as error:
        return {"error": str(error)}
    # For example, MLflow cannot be imported.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        return {"error": f"MLflow cannot be used: {type(error).__name__}: {reason}"}


@contextmanager
def _private_output() -> Iterator[TextIO]:
    """Reserve standard output for results; what libraries print goes to standard error."""
    own = os.dup(1)
    os.dup2(2, 1)
    with suppress(BrokenPipeError), os.fdopen(own, "w", encoding="utf-8") as answers:
        yield answers


def _input(process: subprocess.Popen[str]) -> TextIO:
    return cast(TextIO, process.stdin)


def _output(process: subprocess.Popen[str]) -> TextIO:
    return cast(TextIO, process.stdout)


def _write(pipe: TextIO, message: Any) -> None:
    pipe.write(json.dumps(message) + "\n")
    pipe.flush()


if __name__ == "__main__":
    # The search waits for its end.
    run_program(main)
