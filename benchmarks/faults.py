"""Faults during a search: does it go on, or stop with the reason and resume, and is anything lost?

    python benchmarks/faults.py --keep                   # all of them: an hour of one core
    python benchmarks/faults.py --only "disk full"       # those whose name, or kind of file, has these words
    python benchmarks/faults.py --list
    python benchmarks/faults.py --outcomes FILE --keep   # goes on after those in the file; --again: once more

Each fault has a toy study of its own: three trials of a tiny network on digits, and two finals. Something
goes wrong from its beginning, in its second trial, or while it is stopped. Then all is as before, the study is resumed
if it did not end, the doctor looks at it, and every trial and final is trained once more, alone: all must be there,
once, with the same numbers. What goes wrong with memory of a device and with losses is simulated; disks are mounted for
it where this user may, and full, read-only and forbidden are what the kernel says.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import disk_faults, harness
from benchmarks.fault_list import Fault, every_fault
from benchmarks.fault_outcomes import Outcome, add_tables, append_outcome, read_outcomes, table_row
from benchmarks.fault_scene import Ended, Scene, plain
from benchmarks.forked_processes import import_everything, make_templates
from frostline.storage.tracking import configure_mlflow

NAME = "faults"
_SHOWN = 110


def happen(fault: Fault, scene: Scene) -> Outcome:
    """Let a fault happen, set all right, and look at what is left."""
    with scene.cleanup:
        fault.happen(scene)
        before = list(scene.ended)
        resumed = "not needed"
        if fault.ends:
            resumed = "no: the reason stands"
        elif _last_training(before).code != 0:
            # Before the study was made, there is nothing to resume.
            again = scene.resume() if scene.begun else scene.search()
            resumed = "yes" if again.code == 0 else f"NO: {_say(scene, again)}"
        if any("frostline sync" in ended.output for ended in scene.ended):
            scene.run("sync", scene.name)
        doctor = scene.run("doctor", scene.name)
        said = "nothing" if doctor.code == 0 else _say(scene, doctor)
        if doctor.code != 0 and fault.mends:
            scene.run("doctor", scene.name, "--fix")
            doctor = scene.run("doctor", scene.name)
            said = f"mended: {said}" if doctor.code == 0 else _say(scene, doctor)
        lost, whole = _lost(fault, scene)
    hung = [ended.command for ended in scene.ended if ended.code is None]
    tracebacks = sum(ended.tracebacks for ended in scene.ended)
    words = "; ".join(dict.fromkeys(_word(scene, ended) for ended in before))
    good = (
        fault.is_met(before)
        and not hung
        and resumed in ("not needed", "yes", "no: the reason stands")
        and doctor.code == 0
        and whole
        and tracebacks == 0
    )
    return Outcome(words, resumed, said, lost, tracebacks, good)


def _last_training(ended: Sequence[Ended]) -> Ended:
    return [each for each in ended if each.command.split()[0] in ("search", "resume")][-1]


def _lost(fault: Fault, scene: Scene) -> tuple[str, bool]:
    try:
        damage = scene.judge()
    except (RuntimeError, AssertionError) as error:
        return plain(str(error), scene.folder), False
    beyond = {name: count for name, count in damage.items() if count > fault.allowed.get(name, 0)}
    known = {name: count for name, count in damage.items() if count and name not in beyond}
    words = [f"{count} {name}" for name, count in beyond.items()]
    words += [f"({count} {name}, as it must be)" for name, count in known.items()]
    return ", ".join(words) or "0", not beyond


def _word(scene: Scene, ended: Ended) -> str:
    if ended.code is None:
        return f"{ended.command.split()[0]} HANGS"
    if ended.code == 0:
        noted = [
            line for line in ended.output.splitlines() if line.startswith("note: ") and "weights are none" not in line
        ]
        return f"went on{': ' + _short(scene, noted[-1]) if noted else ''}"
    if ended.code < 0:
        return f"killed by signal {-ended.code}"
    return f"{ended.command.split()[0]} stopped ({ended.code}): {_say(scene, ended)}"


def _say(scene: Scene, ended: Ended) -> str:
    lines = [line for line in ended.output.splitlines() if line.strip() and not line.startswith((" ", "Report:"))]
    return _short(scene, lines[-1] if lines else "")


def _short(scene: Scene, line: str) -> str:
    text = plain(line, scene.root, scene.folder).strip().removeprefix("note: ").replace("|", "/")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@contextmanager
def mlflow_server(folder: Path, faults: Sequence[Fault]) -> Iterator[str]:
    """URI of a server for the faults that need one; empty where none does."""
    with ExitStack() as stack:
        if any(fault.server for fault in faults):
            from tests.servers import serving_mlflow

            folder.mkdir()
            yield stack.enter_context(serving_mlflow(folder)).uri
        else:
            yield ""


def measure(options: argparse.Namespace) -> tuple[harness.Report, bool]:
    """Let all chosen faults happen, one after the other; whether all was as expected."""
    setting = harness.Setting(data="digits", backbone="tiny_network", weights="none", image_size=32)
    report = harness.Report(NAME, "Faults during a search: what it did, and what was lost.", setting)
    outcomes = read_outcomes(options.outcomes)
    known = set() if options.again else set(outcomes)
    commit, _, changed = harness.machine_facts()["commit"].partition(" ")
    sources = commit[:9] + ("+" if changed else "")
    with harness.scratch_folder() as folder:
        folder.chmod(0o755)
        mounts = disk_faults.may_mount(folder / "disk")
        chosen = [fault for fault in every_fault() if _is_chosen(fault, options) and (mounts or not fault.mounts)]
        left = [fault for fault in chosen if (fault.name, fault.place) not in known]
        templates = make_templates(folder / "templates")
        with mlflow_server(folder / "server", left) as uri:
            for number, fault in enumerate(left):
                scene = Scene(folder / f"fault-{number}", templates, name=f"toy{number}", mlflow=uri)
                began = time.monotonic()
                outcome = _observed(fault, scene, options.show)
                outcome = replace(outcome, seconds=round(time.monotonic() - began, 1), sources=sources)
                outcomes[fault.name, fault.place] = outcome
                if options.outcomes:
                    append_outcome(options.outcomes, fault, outcome)
                print(f"{number + 1}/{len(left)}", *table_row(fault, outcome), sep=" | ", flush=True)
    add_tables(report, chosen, outcomes)
    if not mounts:
        report.notes.append("This user may not mount disks: full and read-only ones were not among the faults.")
    return report, all(outcomes[fault.name, fault.place].good for fault in chosen)


def _observed(fault: Fault, scene: Scene, show: bool) -> Outcome:
    try:
        outcome = happen(fault, scene)
    # A fault that could not happen must not hide the others.
    except Exception as error:
        traceback.print_exc()
        return Outcome(f"{type(error).__name__}: {error}", "", "", "", 1, good=False)
    if show or not outcome.good:
        for ended in scene.ended:
            print(f"--- {ended.command}: {ended.code}\n{ended.output[-3000:]}", file=sys.stderr, flush=True)
    return outcome


def _is_chosen(fault: Fault, options: argparse.Namespace) -> bool:
    return options.only is None or any(words in f"{fault.name}: {fault.place}" for words in options.only)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="WORDS", help="those with one of these words alone")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--show", action="store_true", help="print what all commands said, not only after a bad end")
    parser.add_argument("--outcomes", type=Path, metavar="FILE", help="where outcomes are; these are not run again")
    parser.add_argument("--again", action="store_true", help="run them again")
    parser.add_argument("--keep", nargs="?", const="", metavar="NAME", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    if options.list:
        for fault in every_fault():
            print(f"{fault.name}: {fault.place}")
        return
    torch.set_num_threads(1)
    configure_mlflow()
    import_everything()
    report, good = measure(options)
    harness.finish(report, options)
    sys.exit(not good)


if __name__ == "__main__":
    main()
