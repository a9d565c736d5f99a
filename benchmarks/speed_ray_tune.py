"""How long until the best score of Ray Tune with ASHA is reached, on the same space, budget and data?

    pip install 'ray[tune]'
    python benchmarks/speed_ray_tune.py --keep      # hours: 40 trials a side and seed

Ray Tune draws configurations at random from the default space, trains as many at once as there are cores (a thread
each), with benchmarks/bare.py, and stops them early by ASHA. Its actors are reused, so that a network is built once a
process, and its clock starts when Ray has started.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import bare, harness
from benchmarks.harness import Report, Setting
from benchmarks.time_to_score import Curve, best, our_search, reached
from frostline.objectives.config import BackboneSpec, TrialConfig
from frostline.objectives.devices import choose_device
from frostline.objectives.networks import BackbonePool
from frostline.search.space import COMPETING, create_space, default_tables, resolve_space


def load_ray() -> tuple[Any, Any, Any]:
    """Ray, its tuner and its schedulers.

    Raises:
        SystemExit: It is not installed; says how to.
    """
    try:
        names = ("ray", "ray.tune", "ray.tune.schedulers")
        ray, tune, schedulers = (importlib.import_module(name) for name in names)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is missing. Install it with: pip install 'ray[tune]'") from None
    return ray, tune, schedulers


def draw(train_images: int, units: int, trials: int, seed: int) -> list[dict[str, Any]]:
    """Configurations at random from the default space, as plain values."""
    space = resolve_space(create_space(default_tables(train_images)).only(COMPETING), units)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    asked = (study.ask() for _ in range(trials))
    drawn = [space.suggest(trial, trial.suggest_categorical("strategy", list(COMPETING))) for trial in asked]
    # Only what was set: a strategy refuses what it does not take.
    return [config.model_dump(exclude_unset=True) for config in drawn]


@functools.cache
def _pool(spec: BackboneSpec) -> BackbonePool:
    return BackbonePool(spec)


def train(values: dict[str, Any], data: bare.BareData, spec: BackboneSpec, device: str, report: Any) -> None:
    """One trial; each epoch is reported with the time at which it ended."""
    torch.set_num_threads(1)
    config = TrialConfig.model_validate(values)

    def on_epoch(epoch: int, score: float) -> None:
        report({"score": score, "at": time.time()})

    bare.train(config, data, _pool(spec), seed=0, device=choose_device(device), on_epoch=on_epoch)


def ray_search(setting: Setting, folder: Path, seed: int, trials: int, *, cached: bool) -> Curve:
    """Seconds and score of every epoch of every trial, in the order of time."""
    ray, tune, schedulers = load_ray()
    if setting.weights != "none":
        # Ray's processes are in folders of their own.
        setting = replace(setting, weights=str(Path(setting.weights).resolve()))
    data = bare.BareData.of(setting.dataset(folder / "images", seed), setting.data, cached=cached)
    units = len(_pool(setting.spec).pretrained.units)
    configs = draw(len(data.train), units, trials, seed)

    def trainable(config: dict[str, Any], data: bare.BareData) -> None:
        train(config["values"], data, setting.spec, setting.device, tune.report)

    ray.init(num_cpus=os.cpu_count(), runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}})
    try:
        asha = schedulers.ASHAScheduler(max_t=max(config["epochs"] for config in configs), grace_period=2)
        share = {"cpu": 1, "gpu": 0.25} if setting.device.startswith("cuda") else {"cpu": 1}
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, data=data), share),
            param_space={"values": tune.grid_search(configs)},
            tune_config=tune.TuneConfig(metric="score", mode="max", scheduler=asha, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
        )
        started = time.time()
        results = tuner.fit()
    finally:
        ray.shutdown()
    frames = (result.metrics_dataframe for result in results)
    epochs = [pair for frame in frames if frame is not None for pair in zip(frame["at"], frame["score"], strict=True)]
    return sorted((float(at) - started, float(score)) for at, score in epochs)


def measure(setting: Setting, *, seeds: int = 3, trials: int = 40, cached: bool = False) -> Report:
    """Both searches, a row a seed."""
    report = Report("speed_ray_tune", "Seconds until the best validation score of Ray Tune with ASHA.", setting)
    columns = ("seed", "Ray: best score", "after, s", "ours: reached, s", "our best by then", "times faster")
    table = report.table("Searches", *columns)
    ratios = []
    for seed in range(seeds):
        with harness.scratch_folder() as folder:
            theirs = ray_search(setting, folder / "ray", seed, trials, cached=cached)
            goal = best(theirs)
            ours = our_search(setting, folder / "ours", seed, trials, goal).curve
        when, own = reached(theirs, goal), reached(ours, goal)
        assert when is not None
        ratios.append(when / own if own else 0.0)
        shown = f"{own:.0f}" if own else "never"
        table.add(seed, f"{goal:.3f}", f"{when:.0f}", shown, f"{best(ours):.3f}", f"{ratios[-1]:.2f}")
    report.table("All", "times faster: median [lowest, highest]", "n").add(harness.spread(ratios), len(ratios))
    report.notes.append(
        f"{trials} trials a side; a score never reached counts as 0. Ray's scores count from the epoch that gave them, "
        "ours from the end of the trial. Ours includes decoding; Ray's clock starts when Ray has."
    )
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--trials", type=int, default=40)
    options.add_argument("--rival-cached", action="store_true", help="it keeps decoded images in memory")
    arguments = options.parse_args()
    load_ray()
    seeds, trials = (1, 5) if arguments.quick else (arguments.seeds, arguments.trials)
    setting = harness.setting(arguments)
    harness.finish(measure(setting, seeds=seeds, trials=trials, cached=arguments.rival_cached), arguments)


if __name__ == "__main__":
    # Ray's processes find what they are sent by the module's own name.
    from benchmarks import speed_ray_tune

    speed_ray_tune.main()
