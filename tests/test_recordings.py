"""Trials are recorded as a search trains them, and a recording gives back what was recorded."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import record_trials
from benchmarks.record_files import Planned, open_records, overview, pack, recorded, unpack
from benchmarks.record_trials import Bench, Settings, Source
from benchmarks.recorder import given_values
from benchmarks.recordings import RecordedTrial, read_recording
from frostline.objectives.config import BackboneSpec, create_config
from frostline.objectives.features import FeatureStore
from frostline.objectives.finetune import Task, finetune, predict
from frostline.objectives.networks import BackbonePool
from frostline.search.space import create_space, default_tables, resolve_space

BACKBONE = BackboneSpec("tiny_network:create", "none", 32)
SETTINGS = Settings(
    (Source("digits", "sklearn:digits[0-2]", train=40, val=20, test=15),),
    (BACKBONE,),
    strategies=("feature_extraction", "partial", "lp_ft", "linear_probe_exact"),
    numbers=2,
    early_numbers=1,
    seeds=2,
    seeded_numbers=1,
)
COLUMNS = ("train_loss", "val_score", "val_loss", "test_score", "test_loss")


def short_tables(train_images: int = 0) -> dict[str, dict[str, object]]:
    """The default space with four epochs."""
    short = {name: {**table} for name, table in default_tables(10**9).items()}
    for table in short.values():
        if "epochs" in table:
            table["epochs"] = 4
    short["lp_ft"]["probe_epochs"] = 2
    return short


@pytest.fixture(scope="module", autouse=True)
def _short_trials():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_trials, "default_tables", short_tables)
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench whose trials are all recorded."""
    bench = Bench(SETTINGS, tmp_path_factory.mktemp("records"))
    open_records(SETTINGS.facts(), bench.folder)
    record_trials.record_missing(bench, bench.planned())
    return bench


@pytest.fixture(scope="module")
def trials(bench: Bench) -> dict[Planned, RecordedTrial]:
    planned = bench.planned()
    return dict(zip(planned, recorded(bench.folder, planned), strict=True))


def test_the_plan_is_breadth_first(bench: Bench) -> None:
    competing = ["feature_extraction", "partial", "lp_ft"]
    assert [(each.strategy, each.number, each.seed) for each in bench.planned()] == [
        *((name, 0, 0) for name in (*competing, "linear_probe_exact")),
        *((name, 0, 1) for name in competing),
        *((name, 1, 0) for name in competing),
        ("linear_probe_exact", 1, 0),
    ]


def test_configurations_are_the_default_and_draws_of_its_space(bench: Bench) -> None:
    units = len(BackbonePool(BACKBONE).pretrained.units)
    space = resolve_space(create_space(short_tables()), units)
    for each in bench.planned():
        values = given_values(bench.config(each))
        assert values.pop("strategy") == each.strategy
        assert all(space.strategies[each.strategy][name].contains(value) for name, value in values.items())
        if each.number == 0:
            assert {"strategy": each.strategy, **values} == space.default(each.strategy)
    draws = [bench.config(Planned("digits", BACKBONE.name, "partial", number, 0)) for number in range(1, 9)]
    assert len({draw.learning_rate for draw in draws}) == 8


def test_a_trial_has_the_numbers_of_a_plain_training(bench: Bench, trials: dict[Planned, RecordedTrial]) -> None:
    train, val, test = bench.splits("digits", BACKBONE.name)
    assert (len(train), len(val), len(test)) == (40, 20, 15)
    task = Task(train, val, BackbonePool(BACKBONE), "accuracy", torch.device("cpu"), FeatureStore(10**8))
    for planned, trial in trials.items():
        plain = finetune(create_config(trial.config), task, seed=planned.seed)
        assert trial.complete
        assert (*trial.key, trial.score, trial.best_epoch) == (*planned, plain.score, plain.best_epoch)
        assert trial.phases == tuple(epoch.phase for epoch in plain.epochs)
        assert trial.val_score.tolist() == [epoch.score for epoch in plain.epochs]
        np.testing.assert_allclose(trial.train_loss, [epoch.train_loss for epoch in plain.epochs], rtol=1e-6)
        np.testing.assert_allclose(trial.val_loss, [epoch.val_loss for epoch in plain.epochs], rtol=1e-6)
        assert accuracy_score(val.labels, trial.val_predictions) == pytest.approx(trial.score)
        probabilities = predict(plain.network, test, task)
        assert trial.test_predictions.tolist() == probabilities.argmax(axis=1).tolist()
        kept = trial.best_epoch
        assert trial.test_score[kept] == pytest.approx(accuracy_score(test.labels, trial.test_predictions))
        assert trial.test_loss[kept] == pytest.approx(log_loss(test.labels, probabilities), rel=1e-4)


def test_seconds_add_up(trials: dict[Planned, RecordedTrial]) -> None:
    for trial in trials.values():
        assert (trial.warm_seconds > 0).all()
        assert (trial.feature_seconds >= 0).all()
        assert trial.setup_seconds > 0
        assert trial.other_seconds > 0
        assert trial.seconds.sum() + trial.setup_seconds + trial.other_seconds < trial.wall_seconds


def test_first_phases_of_the_head_alone_are_stages_that_trials_can_share(trials: dict[Planned, RecordedTrial]) -> None:
    for trial in trials.values():
        solved = trial.config.get("head.init") == "probe"
        assert bool(trial.stage) == (trial.strategy == "lp_ft" or solved)


def test_an_interrupted_recording_goes_on_where_it_was(bench: Bench, trials: dict[Planned, RecordedTrial]) -> None:
    planned = bench.planned()
    lost = planned[5]
    lost.file(bench.folder).unlink()
    assert overview(planned, recorded(bench.folder, planned))[-1].startswith("10 of 11 trials")
    written = {each: each.file(bench.folder).stat().st_mtime_ns for each in planned if each != lost}
    record_trials.record_missing(bench, planned)
    assert written == {each: each.file(bench.folder).stat().st_mtime_ns for each in written}
    again = recorded(bench.folder, [lost])[0]
    assert again.config == trials[lost].config
    assert all(np.array_equal(getattr(again, name), getattr(trials[lost], name)) for name in COLUMNS)


def test_records_of_other_settings_are_refused(bench: Bench) -> None:
    with pytest.raises(SystemExit, match="other settings"):
        open_records(replace(SETTINGS, numbers=3).facts(), bench.folder)


def test_a_recording_goes_on_from_what_was_packed(bench: Bench, tmp_path: Path) -> None:
    planned = bench.planned()
    pack(SETTINGS.facts(), bench.folder, recorded(bench.folder, planned)[:7], tmp_path / "trials.parquet")
    unpack(planned, tmp_path, tmp_path / "trials.parquet")
    assert [trial.key for trial in recorded(tmp_path, planned)] == planned[:7]
    again = [Planned(*trial.key) for trial in recorded(tmp_path, planned)]
    for name in ("datasets", "sessions"):
        files = {file.name: file.read_text() for file in (bench.folder / name).glob("*.json")}
        assert {file.name: file.read_text() for file in (tmp_path / name).glob("*.json")} == files
    pack(SETTINGS.facts(), tmp_path, recorded(tmp_path, again), tmp_path / "again.parquet")
    first, second = (read_recording(tmp_path / name) for name in ("trials.parquet", "again.parquet"))
    for one, other in zip(first.trials, second.trials, strict=True):
        np.testing.assert_equal(one.row(), other.row())


def test_a_packed_recording_gives_back_the_trials(
    bench: Bench, trials: dict[Planned, RecordedTrial], tmp_path: Path
) -> None:
    pack(SETTINGS.facts(), bench.folder, list(trials.values()), tmp_path / "packed" / "trials.parquet")
    recording = read_recording(tmp_path / "packed" / "trials.parquet")
    assert [trial.key for trial in recording.trials] == [trial.key for trial in trials.values()]
    for packed, trial in zip(recording.trials, trials.values(), strict=True):
        one, other = packed.row(), trial.row()
        assert all(one[name] == other[name] for name in ("config", "phases", "best_epoch", "views", "test_predictions"))
        for name in (*COLUMNS, "seconds", "feature_seconds", "wall_seconds"):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6)
    assert [trial.number for trial in recording.cell("digits", BACKBONE.name, "partial")] == [0, 1]
    assert recording.labels("digits", "test").tolist() == bench.splits("digits", BACKBONE.name)[2].labels.tolist()
    assert {trial.session for trial in recording.trials} <= set(recording.sessions)


def test_the_first_trial_of_a_view_pays_for_it(
    bench: Bench, trials: dict[Planned, RecordedTrial], tmp_path: Path
) -> None:
    pack(SETTINGS.facts(), bench.folder, list(trials.values()), tmp_path / "trials.parquet")
    recording = read_recording(tmp_path / "trials.parquet")
    # The probe of the default lp_ft and the default feature extraction see the same unaugmented validation images.
    first, later = (recording.cell("digits", BACKBONE.name, name)[0] for name in ("feature_extraction", "lp_ft"))
    shared = set(first.views) & set(later.views)
    assert shared
    known: set[str] = set()
    assert first.cold_seconds(known).sum() == pytest.approx(first.warm_seconds.sum() + first.view_seconds.sum())
    assert known == set(first.views)
    own = sum(cost for key, cost in zip(later.views, later.view_seconds, strict=True) if key not in shared)
    assert later.cold_seconds(known).sum() == pytest.approx(later.warm_seconds.sum() + own)
    assert later.cold_seconds(known).tolist() == later.warm_seconds.tolist()
