"""Every speed benchmark runs at tiny settings and gives its table; no time is asserted, for machines differ."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import (
    bare,
    cache_budget,
    data_faults,
    exact_probe,
    exhaustive,
    gpu,
    harness,
    head_depths,
    logistic_regression,
    method_gains,
    paired_scores,
    precision,
    repeatability,
    shared_cores,
    speed_bare_optuna,
    speed_compile,
    speed_folding,
    speed_overhead,
    speed_predict,
    speed_ray_tune,
    speed_scaling,
    speed_suffix,
    starting_heads,
    stock_gain,
    time_to_score,
)
from benchmarks.harness import Pairs, Report, Setting, at_least, at_most
from benchmarks.known_answers import write_images
from benchmarks.procedural import shaped
from frostline.objectives.augmentation.views import AugmentedViews
from frostline.objectives.config import TrialConfig
from frostline.objectives.logistic_regression import fit_logistic_regression
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.search.space.default_space import default_tables


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 12), ("test", 12)):
        write_images(shaped(count, rng), folder / split)
    return Setting(str(folder), "tiny_network:create", "none", 32, pairs=1, quick=True)


@pytest.fixture(autouse=True)
def short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default space, with two or three epochs instead of up to 120."""
    tables = default_tables(10**9)

    def shortened(train_images: int = 0) -> dict[str, dict[str, object]]:
        short = {name: {**table} for name, table in tables.items()}
        for table in short.values():
            if "epochs" in table:
                table["epochs"] = 3
        short["lp_ft"]["probe_epochs"] = 1
        return short

    for module in ("frostline.search.study.prepare", *(f"benchmarks.{name}" for name in USERS)):
        monkeypatch.setattr(f"{module}.default_tables", shortened)


USERS = ("speed_bare_optuna", "speed_ray_tune", "speed_scaling", "time_to_score")


@pytest.fixture
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def headings(report: Report) -> set[str]:
    assert all(table.rows for table in report.tables.values())
    text = report.markdown()
    assert "cores" in text
    assert "torch" in text
    return set(report.tables)


def test_ratios_are_of_pairs() -> None:
    seconds = iter([1.0, 4.0, 2.0, 6.0])
    pairs = harness.alternate(lambda: next(seconds), lambda: next(seconds), 2)
    assert pairs == Pairs(ours=(1.0, 2.0), rival=(4.0, 6.0))
    assert pairs.faster == (4.0, 3.0)
    assert pairs.slower == (0.25, pytest.approx(1 / 3))
    assert harness.spread(pairs.faster) == "3.5 [3, 4]"
    assert at_least(3.5).judge(pairs.faster) == "yes"
    assert at_most(3.4).judge(pairs.faster) == "NO"


def test_the_rival_sees_the_same_pixels_labels_and_division(tiny: Setting, tmp_path: Path) -> None:
    dataset = tiny.dataset(tmp_path)
    _, val = dataset.search_splits()
    data = bare.BareData.of(dataset, tiny.data)
    _, loader = data.loaders(TrialConfig(strategy="full"))
    images, labels = next(iter(loader))
    own = AugmentedViews("none", 1, val.preprocessing, len(val), 0).apply(
        val.images(slice(None)), torch.arange(len(val)), 0
    )
    assert labels.tolist() == val.labels.tolist()
    torch.testing.assert_close(images, own, atol=1e-5, rtol=0)
    cached = bare.BareData.of(dataset, tiny.data, cached=True)
    again, _ = next(iter(cached.loaders(TrialConfig(strategy="full"))[1]))
    assert torch.equal(images, again)


def test_the_rival_freezes_what_it_shall(tiny: Setting, tmp_path: Path) -> None:
    data = bare.BareData.of(tiny.dataset(tmp_path), tiny.data)
    pool = BackbonePool(tiny.spec)
    before = {name: value.clone() for name, value in pool.pretrained.model.state_dict().items()}
    depth = 3
    frozen = {name for names in list(pool.pretrained.unit_tensors().values())[:depth] for name in names}
    config = TrialConfig(strategy="partial", freeze_depth=depth, epochs=1, batch_size=8)
    bare.train(config, data, pool, seed=0, device=torch.device("cpu"))
    changed = {
        name for name, value in pool.pretrained.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed
    assert not changed & frozen


@pytest.mark.slow  # Three searches.
def test_bare_optuna(tiny: Setting) -> None:
    report = speed_bare_optuna.measure(tiny, epochs=2, trials=2, sample=1)
    assert len(headings(report)) == 2
    rows = report.tables["Seconds a trial"].rows
    names = " ".join(row[0] for row in rows)
    assert all(part in names for part in ("head", "partial", "lp_ft", "full", "scratch"))


@pytest.mark.slow
def test_time_to_score(tiny: Setting) -> None:
    assert headings(time_to_score.measure(tiny, seeds=1, trials=5, cached=True)) == {"Searches", "All"}
    assert time_to_score.reached([(1.0, 0.2), (2.0, 0.5)], 0.4) == 2.0
    assert time_to_score.reached([(1.0, 0.2)], 0.4) is None


def test_suffix(tiny: Setting) -> None:
    report = speed_suffix.measure(tiny, epochs=1, shares=(0.5,))
    assert [row[0] for row in report.tables["Epochs"].rows] == ["partial", "full"]


def test_predicting(tiny: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes are left to the benchmark itself."""
    rivals = speed_predict.rivals
    monkeypatch.setattr(speed_predict, "rivals", lambda photos: dict(list(rivals(photos).items())[:1]))
    report = speed_predict.measure(tiny, images=10)
    assert [row[:2] for row in report.tables["Images a second"].rows] == [("loop", "10")]
    apart = float(report.notes[0].split("differ by ")[1].split(" ")[0])
    assert apart < 1e-5


def test_ways_to_solve_a_head_are_compared_on_new_images(tiny: Setting) -> None:
    report = exact_probe.measure([tiny], [24], 2)
    assert set(report.tables) == {"All", "shapes0, tiny_network:create, 32 px"}
    rows = {row[0]: row for row in report.tables["All"].rows}
    assert rows.keys() >= {exact_probe.BEFORE, exact_probe.NOW}
    assert rows[exact_probe.BEFORE][2] == "+0.00 ± 0.00"
    assert all(row[-1] == "2" for row in rows.values())


@pytest.mark.slow  # As the ways to solve a head, which are quick.
def test_heads_on_more_units_see_the_features_of_fewer_too(tiny: Setting) -> None:
    report = head_depths.measure([tiny], [24], 2)
    rows = {row[0]: row for row in report.tables["All"].rows}
    assert list(rows) == ["1", "2", "4", "8", "12", "16"]
    assert rows["1"][3] == ""
    assert float(rows["4"][3].split()[0]) == pytest.approx(float(rows["4"][2]) - float(rows["1"][2]), abs=0.11)
    widths = [int(row[1]) for row in rows.values()]
    (images, own), alone = head_depths.deep_features(tiny), exact_probe.all_features(tiny)
    assert list(own.values()) == widths == sorted(widths)
    np.testing.assert_allclose(images[0][:, -widths[0] :], alone[0], rtol=1e-5, atol=1e-6)


def test_a_stock_of_one_network_three_times_is_that_network(tiny: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    finetune, predict, seen = stock_gain.finetune, stock_gain.predict, list[np.ndarray]()
    monkeypatch.setattr(stock_gain, "CONFIG", {"strategy": "full", "epochs": 2, "batch_norm": "eval"})
    monkeypatch.setattr(stock_gain, "finetune", lambda config, task, seed: finetune(config, task, seed=0))
    monkeypatch.setattr(stock_gain, "predict", lambda *given: seen.append(predict(*given)) or seen[-1])
    (row,) = stock_gain.measure([tiny], 2).tables["Test accuracy"].rows
    assert list(row[4:]) == ["+0.00 ± 0.00", "+0.00 ± 0.00", "2"]
    for start in (0, 4):
        first, *others = seen[start : start + 4]
        assert np.ptp(first, axis=0).min() > 1e-3
        for other in others:
            np.testing.assert_allclose(other, first, atol=1e-6)


def test_precisions_are_compared_part_by_part_and_seed_by_seed(tiny: Setting) -> None:
    speed = precision.measure_speed(tiny, {(tiny.backbone, 32, 4): (3.0, None)})
    assert [row[1] for row in speed.tables["Speed"].rows] == ["features", "training step"]
    # A network this small stays in float32.
    assert [row[7:] for row in speed.tables["Speed"].rows] == [("float32", "1")] * 2
    (row,) = precision.measure_scores([tiny], 2, ["full"]).tables["Test accuracy"].rows
    assert row[2] == "full"


def test_an_interval_is_students() -> None:
    """The 97.5 % quantile of one degree of freedom is 12.706; the standard error of 1 and 3 is 1."""
    assert paired_scores.interval([1.0, 3.0]) == "+2.00 ± 12.71"


def test_a_method_is_compared_with_the_same_training_without_it(tiny: Setting) -> None:
    report = Report("gains", "", tiny)
    same = {"strategy": "linear_probe_exact"}
    methods = [method_gains.Method("none", same, {}), method_gains.Method("depths", same, {"head.depths": 2})]
    method_gains.add(report, [tiny], methods, seeds=2)
    (none, depths) = report.tables["Test accuracy"].rows
    assert none[3] == none[4] == depths[3]
    assert none[5] == "+0.00 ± 0.00"
    assert float(depths[5].split()[0]) == pytest.approx(float(depths[4]) - float(depths[3]), abs=0.011)


def test_starts_of_fine_tuning_are_those_of_the_search_and_compared_with_the_first(
    tiny: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = list[dict[str, object]]()

    def score(values: dict[str, object], task: object, test: object, seed: int) -> float:
        trained.append(values)
        return 50.0 + seed * len(trained)

    monkeypatch.setattr(starting_heads, "test_accuracy", score)
    report = starting_heads.measure([tiny], [1, 2])
    # Of 7 units, partial trains six, and its head sees the one before them, too.
    assert [values["head.depths"] for values in trained[:6]] == [1, 1, 7, 1, 1, 7]
    rows = {row[:2]: row for row in report.tables["All pairs"].rows}
    # In the order of the trainings: 51 and 64, 53 and 68 of the solved head on 8 units.
    assert rows["lp_ft", "solved, 8 units"][2] == "60.5"
    assert rows["lp_ft", "solved, 8 units"][3] == paired_scores.interval([2.0, 4.0])
    assert rows["lp_ft", "steps, 1 unit"][3:5] == ("", "")


@pytest.mark.slow
def test_processes_share_cores(tiny: Setting) -> None:
    (row,) = shared_cores.measure(tiny, steps=1, most=1).tables["1 training steps"].rows
    assert min(float(cell.split()[0]) for cell in row[1:4]) > 0


def test_solving_heads(tiny: Setting) -> None:
    """The solver of today stands for an older one too: the table says how near each comes to scikit-learn's minimum."""
    problems = [logistic_regression.photos(tiny, 16), logistic_regression.synthetic(30, 20, 4)]
    report = logistic_regression.measure(tiny, problems, fit_logistic_regression)
    assert headings(report) == {str(problem) for problem in problems}
    assert [len(problem.train) for problem in problems] == [16, 30]
    for table in report.tables.values():
        assert table.columns[6] == "difference"
        assert {row[0]: float(row[6]) < 1e-3 for row in table.rows} == {row[0]: True for row in table.rows}


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_an_older_solver_is_read_from_its_commit() -> None:
    with pytest.raises(SystemExit, match="--older"):
        logistic_regression.solver_of("no-such-commit")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: g++")
@pytest.mark.filterwarnings("ignore")
def test_compiling(tiny: Setting) -> None:
    report = speed_compile.measure(tiny, runs=1, strategies=("full",), scopes=("units",), modes=("eval",))
    assert headings(report) == {"Steps", "Starts"}
    first, second = report.tables["Starts"].rows
    assert (first[3], second[3]) == ("first", "second")
    # CPU seconds: the second process finds what the first has compiled.
    assert float(first[5]) > float(second[5]) > 0


def test_folding(tiny: Setting) -> None:
    report = speed_folding.measure([tiny], runs=1, batch_size=4)
    (row,) = report.tables["Steps"].rows
    assert float(row[-1]) < 1e-4


@pytest.mark.slow
def test_overhead_counts_each_second_once(tiny: Setting) -> None:
    report = speed_overhead.measure(tiny, head_trials=2, mixed_trials=1, strategies=("full",))
    assert headings(report) == {
        "Targets",
        "Head-only trials alone",
        "Head-only trials in a population",
        "Trials of all strategies",
    }
    parts = {row[0] for row in report.tables["Head-only trials alone"].rows}
    assert {"training", "claim a trial", "tell", "garbage collection", "other"} <= parts


def test_nested_calls_are_counted_as_their_own_part_only() -> None:
    parts = speed_overhead.Parts()
    inner = parts.timed(lambda: sum(range(200_000)), "inner")
    started = harness.seconds(parts.timed(inner, "outer"))
    assert 0 <= parts.seconds["outer"] < parts.seconds["inner"]
    assert sum(parts.seconds.values()) <= started


@pytest.mark.slow
def test_a_tight_cache_budget_evicts_and_changes_nothing(tiny: Setting) -> None:
    setting = replace(tiny, backbone="tiny_network:create_many_units")
    report = cache_budget.measure(setting, "30KB", trials=3)
    assert [row[-1] for row in report.tables["Targets"].rows] == ["yes", "yes", "yes"], report.markdown()


@pytest.mark.slow
def test_scaling(tiny: Setting) -> None:
    report = speed_scaling.measure(tiny, images=(12,), trials=(6,), networks=("resnet18",))
    assert headings(report) == {"Images", "Trials", "Units"}


@pytest.mark.slow  # A network of its own size. What the rival trains is quick.
def test_gpu_functions_run_on_the_cpu(tiny: Setting) -> None:
    report = gpu.measure(tiny, parts=("throughput", "bare"), network="shufflenet_v2_x0_5", network_size=32)
    assert headings(report) == {"Full fine-tuning", "speed_bare_optuna: Seconds a trial"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_without_one_says_what_to_type() -> None:
    with pytest.raises(SystemExit, match="--device cpu --quick"):
        gpu.require_device("cuda")


def test_ray_draws_configurations_that_the_rival_trains(tiny: Setting, tmp_path: Path) -> None:
    data = bare.BareData.of(tiny.dataset(tmp_path), tiny.data)
    units = len(BackbonePool(tiny.spec).pretrained.units)
    reported: list[dict[str, float]] = []
    for values in speed_ray_tune.draw(len(data.train), units, 6, seed=0):
        speed_ray_tune.train(values, data, tiny.spec, "cpu", reported.append)
    assert len(reported) >= 6
    assert all(0 <= report["score"] <= 1 for report in reported)


def test_missing_data_are_named_with_what_to_type(tiny: Setting, restored_threads: None) -> None:
    arguments = harness.parser("").parse_args(["--data", "nowhere", "--weights", "none"])
    with pytest.raises(SystemExit, match=r"nowhere.*--data"):
        harness.setting(arguments)
    assert harness.setting(harness.parser("").parse_args(["--data", tiny.data, "--weights", "none", "--threads", "1"]))


@pytest.mark.slow  # Copies of each kind are quick.
def test_data_faults_measures_what_it_planted(tiny: Setting) -> None:
    report = data_faults.measure(tiny, (tiny.data,), limit=5)
    copies, labels = report.tables.values()
    assert [row[3] for row in copies.rows] == list(data_faults.COPIES)
    assert {row[4] for row in copies.rows} == {"5"}
    recalls = {row[3]: float(row[6]) for row in copies.rows}
    assert recalls["same bytes"] == recalls["twice the size"] == 1
    assert [row[3] for row in labels.rows] == ["0", "5", "10"]


def test_searches_agree_if_they_recommend_the_same_or_call_each_other_a_tie() -> None:
    scores = {"full": 0.9, "partial": 0.8, "scratch": 0.3}
    full = repeatability.Outcome("full", frozenset({"full", "partial"}), scores)
    partial = repeatability.Outcome("partial", frozenset({"full", "partial"}), scores)
    sure = repeatability.Outcome("partial", frozenset({"partial"}), {"full": 0.7, "partial": 0.9})
    assert repeatability.agree(full, full)
    assert repeatability.agree(full, partial)
    assert not repeatability.agree(full, sure)
    # Means over all three: both 2.5 thirds; over the first two: 0.9 and 0.8.
    assert repeatability.regrets([full, partial, sure]) == pytest.approx([0, 0, 0])
    assert repeatability.regrets([full, partial]) == pytest.approx([0, 0.1])


def test_a_usual_verdict_is_right_if_it_or_the_exhaustive_one_calls_the_others_leader_a_tie() -> None:
    full = repeatability.Outcome("full", frozenset({"full", "partial"}), {})
    partial = repeatability.Outcome("partial", frozenset({"partial"}), {})
    unsure = repeatability.Outcome("lp_ft", frozenset({"lp_ft", "full"}), {})
    assert exhaustive.judge(full, full) == "the same"
    assert exhaustive.judge(partial, full) == "a tie there"
    assert exhaustive.judge(unsure, full) == "a tie here"
    assert exhaustive.judge(unsure, partial) == "NO"
