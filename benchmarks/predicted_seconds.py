"""How near are the predicted seconds of a trial, by the probe alone and after ten trials?

    python benchmarks/predicted_seconds.py --workspace DIR --keep          # 10 min; finished studies are read again

Each dataset has one search. Every trial is predicted from those that ended before it: as it was asked for, when nobody
knows whether it will be pruned or stop early, and with the epochs that it then ran. Seconds are processor seconds of
one thread, so that other work on the machine does not count; memory is that of the process.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from benchmarks import harness
from benchmarks.harness import SHARED, Report, Setting
from frostline.objectives.finetune import count_trained
from frostline.objectives.preprocessing import Preprocessing
from frostline.objectives.speed import SpeedProbe
from frostline.search.analysis import SecondsModel, peak_memory
from frostline.search.execution.held_study import hold_study
from frostline.search.execution.session import open_session
from frostline.search.execution.trials import run_trials
from frostline.search.records import TrialRecord
from frostline.search.slots import ProcessResources
from frostline.search.study import Observer, Prepared, Study, device_of_trials, precision_of, prepare_search
from frostline.search.study.forecast import fitted_model, measured_trials
from frostline.search.study.speed import measure_speed
from frostline.storage.workspace import Workspace

DATASETS = ("garments_small", "flowers")
# Trials before a prediction counts as one after ten trials.
KNOWN = 10


@dataclass(frozen=True)
class Predicted:
    """Predictions of a trial from the trials before it.

    Attributes:
        strategy: Name of the strategy.
        seconds: What it took.
        asked: What was predicted when it was asked for.
        ran: What was predicted with the epochs that it ran.
        probe: What the probe alone predicts with these epochs.
    """

    strategy: str
    seconds: float
    asked: float
    ran: float
    probe: float

    def error(self, which: str) -> float:
        """Return the relative error of a prediction."""
        return abs(getattr(self, which) / self.seconds - 1)


def run_study(
    setting: Setting, workspace: Workspace, trials: int, *, train: bool
) -> tuple[Study, SpeedProbe, Prepared]:
    """Run the trials that a study lacks, unless it is only to be read; return the speed that was measured before."""
    name = Path(setting.data).name
    request = setting.request(name=name, trials=trials, population=1, audit=False)
    prepared = prepare_search(request, workspace, Observer())
    study, probe = prepared.study, prepared.study.diagnoses.speed()
    if probe is None:
        preprocessing: Preprocessing = prepared.dataset.preprocessing
        probe = measure_speed(
            study.settings,
            prepared.backbones,
            preprocessing,
            request.resources,
            len(study.facts.classes),
            precision_of(study.facts, device_of_trials(request.resources)),
        )
        study.diagnoses.keep_speed(probe)
    if not train:
        return study, probe, prepared
    own = ProcessResources.all_of(request.resources)
    with (
        hold_study(study, Observer()) as tracker,
        open_session(study, prepared.dataset, prepared.backbones, own, tracker, Observer()) as session,
    ):
        run_trials(session)
    return study, probe, prepared


def predictions(study: Study, probe: SpeedProbe) -> list[Predicted]:
    """Return the predictions of every trial, in the order in which they ended."""
    facts, trials = study.facts, study.trials()
    ended = list(measured_trials(trials, len(facts.units)))
    blank = fitted_model(facts, probe, [])
    found = []
    for place, trial in enumerate(ended):
        before = blank.fit(ended[:place])
        plain = SecondsModel(probe, blank.train, blank.val, kept=before.kept)
        found.append(
            Predicted(
                trial.planned.config.strategy,
                trial.seconds,
                before.seconds(trial.planned),
                before.seconds(trial.planned, trial.epochs),
                plain.seconds(trial.planned, trial.epochs),
            )
        )
    return found


def memory_ratios(study: Study, probe: SpeedProbe, prepared: Prepared) -> list[float]:
    """Return estimated by measured peak memory of the complete trials."""
    model = fitted_model(study.facts, probe, [])
    ratios = []
    for trial, measured in zip(
        _complete(study), measured_trials(_complete(study), len(study.facts.units)), strict=True
    ):
        trained, parameters = count_trained(measured.planned.config, prepared.backbones, len(study.facts.classes))
        peak = study.outcome(trial.number)["peak_memory_mb"] * 2**20
        ratios.append(peak_memory(measured.planned, model, parameters, trained) / peak)
    return ratios


def _complete(study: Study) -> list[TrialRecord]:
    ended = [trial for trial in study.trials() if trial.state == "complete"]
    return sorted(ended, key=lambda trial: (trial.finished, trial.number))


def report_dataset(report: Report, dataset: str, found: Sequence[Predicted], memory: Sequence[float]) -> None:
    """Add the rows of a dataset."""
    table = report.table(
        "Relative error of the predicted seconds, median (quartiles)",
        *("dataset", "trials", "n", "by the probe alone, epochs known", "epochs known", "as asked for"),
        "all together, predicted / taken",
    )
    for name, part in (("all", found), (f"after {KNOWN}", found[KNOWN:])):
        if part:
            total = sum(each.asked for each in part) / sum(each.seconds for each in part)
            table.add(
                dataset, name, len(part), *(_errors(part, which) for which in ("probe", "ran", "asked")), f"{total:.2f}"
            )
    each = report.table(
        f"After {KNOWN} trials, by strategy", "dataset", "strategy", "n", "seconds", "epochs known", "as asked for"
    )
    late = found[KNOWN:]
    for strategy in dict.fromkeys(each.strategy for each in late):
        own = [one for one in late if one.strategy == strategy]
        seconds = float(np.median([one.seconds for one in own]))
        each.add(dataset, strategy, len(own), f"{seconds:.2f}", _errors(own, "ran"), _errors(own, "asked"))
    sizes = report.table("Peak memory, estimated / measured", "dataset", "n", "median (quartiles)")
    sizes.add(dataset, len(memory), _quartiles(memory, 1.0, ""))


def _errors(part: Sequence[Predicted], which: str) -> str:
    return _quartiles([each.error(which) for each in part], 100.0, " %")


def _quartiles(values: Sequence[float], scale: float, unit: str) -> str:
    low, middle, high = scale * np.quantile(values, (0.25, 0.5, 0.75))
    digits = 0 if scale > 1 else 2
    return f"{middle:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--workspace", type=Path, required=True, help="folder of the studies")
    options.add_argument("--datasets", nargs="+", default=DATASETS)
    options.add_argument("--trials", type=int, default=30, help="of each search (%(default)s)")
    options.add_argument("--read", action="store_true", help="train nothing: judge the trials that there are")
    options.set_defaults(
        data=str(SHARED / "data" / DATASETS[0]),
        backbone="squeezenet1_1",
        weights=str(SHARED / "weights/squeezenet1_1_imagenet.safetensors"),
        image_size=64,
        threads=1,
    )
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    report = Report("predicted_seconds", "How near the predicted seconds of a trial are.", chosen)
    report.notes.append(
        "The first setting's dataset is named above; all datasets ran with the same network. Target: a median error of "
        f"at most 25 % after {KNOWN} trials. Each trial is predicted from those before it. As it is asked for, nobody "
        "knows whether it will be pruned or stop early. Seconds are processor seconds of one thread. That the first "
        "two trials of a strategy are counted apart was decided on garments_small."
    )
    torch.set_num_threads(1)
    time.perf_counter = time.process_time
    for dataset in arguments.datasets:
        own = Setting(**{**vars(chosen), "data": str(SHARED / "data" / dataset)})
        study, probe, prepared = run_study(
            own, Workspace(arguments.workspace), arguments.trials, train=not arguments.read
        )
        report_dataset(report, dataset, predictions(study, probe), memory_ratios(study, probe, prepared))
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
