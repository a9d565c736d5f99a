"""The sampler: a floor for every strategy, and nothing learned about one steers another."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from frostline.search.records import STRATEGY
from frostline.search.sampling.budget import FLOOR_SHARE, BudgetAllocation, score_margin, strategy_floor
from frostline.search.sampling.sampler import StrategySampler
from frostline.search.sampling.strategy_trials import MODELED

STRATEGIES = ["feature_extraction", "partial", "full", "lp_ft", "scratch"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def suggest(trial: optuna.Trial, strategies: list[str]) -> tuple[str, float, float]:
    """A strategy and two parameters of it, one of them conditional."""
    strategy = str(trial.suggest_categorical(STRATEGY, strategies))
    x = trial.suggest_float(f"{strategy}/x", 0, 1)
    hidden = trial.suggest_int(f"{strategy}/hidden", 0, 1)
    width = trial.suggest_float(f"{strategy}/width", 0, 1) if hidden else 0.0
    return strategy, x, width


def new_study(budget: int, seed: int = 0) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=StrategySampler(BudgetAllocation(budget), seed=seed))


def run(study: optuna.Study, trials: int, strategies: list[str], score: Callable[[str, float], float]) -> list[str]:
    """Run trials, and which strategies they had."""
    order = []
    for _ in range(trials):
        trial = study.ask()
        strategy, x, _ = suggest(trial, strategies)
        order.append(strategy)
        study.tell(trial, score(strategy, x))
    return order


@settings(deadline=None, max_examples=12)
@given(st.integers(5, 60), st.integers(1, 5), st.sampled_from(STRATEGIES), st.integers(0, 1000))
def test_every_strategy_gets_its_floor_before_any_gets_more(budget: int, number: int, best: str, seed: int) -> None:
    strategies = STRATEGIES[:number]
    order = run(new_study(budget, seed), budget, strategies, lambda strategy, x: float(strategy == best) + x / 10)
    count = Counter(order)
    floor = strategy_floor(budget, number)
    fair_share = min(floor, budget // number)
    assert all(count[strategy] >= fair_share for strategy in strategies)
    # Until all have their floor, none has more.
    seen: Counter[str] = Counter()
    for strategy in order:
        if min(seen[name] for name in strategies) < floor:
            assert seen[strategy] < floor
        seen[strategy] += 1


@given(st.integers(5, 60), st.integers(1, 5))
def test_the_floor_is_the_stated_share_of_the_budget(budget: int, number: int) -> None:
    floor = strategy_floor(budget, number)
    assert floor >= 1
    assert floor * number >= FLOOR_SHARE * budget
    assert floor - 1 < FLOOR_SHARE * budget / number or floor == 1
    assert floor <= math.ceil(budget / number)


def test_waiting_and_failed_trials_do_not_starve_a_strategy() -> None:
    study = new_study(20)
    study.enqueue_trial({STRATEGY: "full", "full/x": 0.5, "full/hidden": 0})
    study.enqueue_trial({STRATEGY: "scratch", "scratch/x": 0.5, "scratch/hidden": 0})
    strategies = ["full", "scratch"]
    for _ in range(20):
        trial = study.ask()
        strategy, x, _ = suggest(trial, strategies)
        study.tell(trial, x if strategy == "full" else None, state=None if strategy == "full" else TrialState.FAIL)
    count = Counter(trial.params[STRATEGY] for trial in study.trials)
    assert min(count[name] for name in strategies) >= strategy_floor(20, 2)


def add(study: optuna.Study, strategy: str, x: float, score: float) -> None:
    uniform = optuna.distributions.FloatDistribution(0, 1)
    study.add_trial(
        optuna.trial.create_trial(
            params={STRATEGY: strategy, f"{strategy}/x": x, f"{strategy}/hidden": 0},
            distributions={
                STRATEGY: optuna.distributions.CategoricalDistribution(["full", "scratch"]),
                f"{strategy}/x": uniform,
                f"{strategy}/hidden": optuna.distributions.IntDistribution(0, 1),
            },
            value=score,
        )
    )


def study_with(others: Callable[[int], tuple[float, float]], seed: int) -> optuna.Study:
    """Twelve trials of full with a peak at x = 0.7, and twelve of scratch."""
    study = new_study(60, seed)
    for place in range(12):
        x = place / 11
        add(study, "full", x, 0.5 - (x - 0.7) ** 2)
        add(study, "scratch", *others(place))
    return study


def sampled(study: optuna.Study) -> dict[str, Any]:
    study.enqueue_trial({STRATEGY: "full"})
    trial = study.ask()
    suggest(trial, ["full", "scratch"])
    return trial.params


@pytest.mark.parametrize("seed", range(5))
def test_results_of_another_strategy_change_nothing(seed: int) -> None:
    worse = study_with(lambda place: (place / 11, 0.01 * place), seed)
    better = study_with(lambda place: (0.3, 0.9 + 0.001 * place), seed)
    assert sampled(worse) == sampled(better)


def test_tpe_learns_within_a_strategy_even_when_another_is_better_throughout() -> None:
    drawn = [sampled(study_with(lambda place: (0.1, 0.9 + 0.001 * place), seed))["full/x"] for seed in range(30)]
    # Uniform draws would be 0.25 away from 0.7 on average or more; a good tenth of TPE's prior stays uniform.
    assert np.mean(np.abs(np.array(drawn) - 0.7)) < 0.18


@pytest.mark.parametrize("cut", [3, 8, 14])
def test_another_process_goes_on_as_this_one_would_have(cut: int) -> None:
    def score(strategy: str, x: float) -> float:
        return x + 0.1 * STRATEGIES.index(strategy)

    undisturbed = new_study(18, seed=4)
    run(undisturbed, 18, STRATEGIES[:3], score)
    resumed = new_study(18, seed=4)
    run(resumed, cut, STRATEGIES[:3], score)
    resumed.sampler = StrategySampler(BudgetAllocation(18), seed=4)
    run(resumed, 18 - cut, STRATEGIES[:3], score)
    assert [trial.params for trial in resumed.trials] == [trial.params for trial in undisturbed.trials]


def test_seeds_differ() -> None:
    drawn = {sampled(study_with(lambda place: (0.1, 0.1 * place), seed))["full/x"] for seed in range(8)}
    assert len(drawn) == 8


def test_parameters_of_a_strategy_are_drawn_together() -> None:
    """Good where both are low or both are high: drawn one by one, half of the pairs would be mixed."""
    uniform = optuna.distributions.FloatDistribution(0, 1)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        STRATEGY: optuna.distributions.CategoricalDistribution(["full", "scratch"]),
        "full/x": uniform,
        "full/y": uniform,
    }
    rng = np.random.default_rng(0)
    places = rng.uniform(size=(80, 2))
    places[:20] = rng.choice([0.15, 0.85], size=(20, 1)) + rng.normal(scale=0.03, size=(20, 2))
    apart = []
    for seed in range(20):
        study = new_study(60, seed)
        for x, y in places:
            params = {STRATEGY: "full", "full/x": x, "full/y": y}
            score = -min(np.hypot(x - 0.15, y - 0.15), np.hypot(x - 0.85, y - 0.85))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=score))
        study.enqueue_trial({STRATEGY: "full"})
        trial = study.ask()
        trial.suggest_categorical(STRATEGY, ["full", "scratch"])
        apart.append(abs(trial.suggest_float("full/x", 0, 1) - trial.suggest_float("full/y", 0, 1)) > 0.35)
    assert np.mean(apart) < 0.25


@settings(deadline=None, max_examples=30)
@given(
    st.integers(5, 40),
    st.lists(st.sampled_from([0.02, 0.3, 1.0, 1.0, 5.0]), min_size=2, max_size=5),
    st.integers(0, 1000),
)
def test_what_is_cheap_comes_first_and_every_strategy_gets_its_floor(
    budget: int, costs: list[float], seed: int
) -> None:
    strategies = STRATEGIES[: len(costs)]
    cost = dict(zip(strategies, costs, strict=True))
    order = run(study_of(BudgetAllocation(budget, cost), seed), budget, strategies, lambda strategy, x: x)
    floor = strategy_floor(budget, len(strategies))
    fair_share = min(floor, budget // len(strategies))
    count = Counter(order)
    assert all(count[strategy] >= fair_share for strategy in strategies)
    assert order[: len(strategies)] == strategies
    # Then, until all have their share: one more trial of another strategy would never have left less spent on it.
    seen = Counter(strategies)
    for strategy in order[len(strategies) : fair_share * len(strategies)]:
        behind = [name for name in strategies if seen[name] < fair_share]
        assert (seen[strategy] + 1) * cost[strategy] == min((seen[name] + 1) * cost[name] for name in behind)
        seen[strategy] += 1
    assert all(seen[strategy] == fair_share for strategy in strategies)


def study_of(allotment: BudgetAllocation, seed: int = 0) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=StrategySampler(allotment, seed=seed))


LEVELS = {"feature_extraction": 0.86, "partial": 0.85, "full": 0.90, "lp_ft": 0.88, "scratch": 0.30}
COSTS = {"feature_extraction": 0.1, "partial": 1.0, "full": 4.0, "lp_ft": 3.0, "scratch": 4.0}


def run_with_noise(budget: int, images: int, seed: int, levels: dict[str, float] = LEVELS) -> list[str]:
    study = study_of(BudgetAllocation(budget, COSTS, images=images), seed)
    return run(study, budget, list(levels), lambda strategy, x: levels[strategy] + x / 100)


@settings(deadline=None, max_examples=12)
@given(st.integers(5, 60), st.integers(10, 10_000), st.dictionaries(st.sampled_from(STRATEGIES), st.floats(0, 1)))
def test_who_is_behind_has_its_floor_in_the_end(budget: int, images: int, levels: dict[str, float]) -> None:
    levels = LEVELS | levels
    count = Counter(run_with_noise(budget, images, 0, levels))
    assert all(count[name] >= min(strategy_floor(budget, 5), budget // 5) for name in STRATEGIES)


@pytest.mark.parametrize("seed", range(3))
def test_who_is_behind_waits_until_the_budget_is_owed(seed: int) -> None:
    order = run_with_noise(40, 100, seed)
    floor = strategy_floor(40, 5)
    first, last = order[: 40 - (floor - 1)], order[40 - (floor - 1) :]
    # Its default was tried; TPE, which looks everywhere, may have taken it, too; what is owed then comes last.
    assert first.count("scratch") >= 1
    assert last.count("scratch") == max(0, floor - first.count("scratch"))
    # Those that chance may have put there do not wait.
    contenders = [name for name in LEVELS if name != "scratch"]
    assert all(order[: 1 + floor * len(contenders)].count(name) == floor for name in contenders)


def test_nobody_is_behind_on_few_images() -> None:
    order = run_with_noise(40, 3, 0, {**LEVELS, "scratch": 0.6})
    floor = strategy_floor(40, 5)
    assert all(order[: 5 * floor].count(name) == floor for name in STRATEGIES)


def test_what_pruned_trials_reached_counts() -> None:
    study = study_of(BudgetAllocation(40, {"full": 1.0, "scratch": 0.1}, images=100))
    for strategy, score in (("full", 0.9), ("scratch", 0.85)):
        study.enqueue_trial({STRATEGY: strategy})
        trial = study.ask()
        suggest(trial, ["full", "scratch"])
        trial.report(score, 0)
        study.tell(trial, state=TrialState.PRUNED)
    # Within chance of the leader, and cheaper.
    assert suggest(study.ask(), ["full", "scratch"])[0] == "scratch"


@pytest.mark.parametrize(("images", "score"), [(40, 0.85), (150, 0.9), (1000, 0.5)])
def test_noise_is_what_two_equally_good_models_differ_by(images: int, score: float) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.binomial(images, score, size=(2, 20_000)) / images
    assert score_margin(score, images) == pytest.approx(2 * np.std(one - other), rel=0.03)


@pytest.mark.parametrize("level", [0.30, 0.95])
def test_a_control_comes_after_the_floors_of_the_others_and_before_what_is_free(level: float) -> None:
    levels = {**LEVELS, "scratch": level}
    study = study_of(BudgetAllocation(40, COSTS, ["scratch"], 100))
    order = run(study, 40, list(levels), lambda strategy, x: levels[strategy] + x / 100)
    floor = strategy_floor(40, 5)
    others = floor * 4
    assert "scratch" not in order[:others]
    assert order[others] == "scratch"
    # One that is in front after all has its floor at once.
    at_once = order[others : others + floor].count("scratch") == floor
    assert at_once == (level > 0.9)
    assert order.count("scratch") >= floor


def test_a_control_alone_is_run() -> None:
    assert (
        run(study_of(BudgetAllocation(3, controls=["scratch"])), 3, ["scratch"], lambda strategy, x: x)
        == ["scratch"] * 3
    )


def test_workers_that_begin_at_the_same_moment_try_different_strategies() -> None:
    study = study_of(BudgetAllocation(20, COSTS, ["scratch"]))
    trials = [study.ask() for _ in range(6)]
    # Each asks before anybody knows what the others were given; the last one finds nothing left to be first at.
    drawn = [
        study.sampler.sample_independent(
            study, study._storage.get_trial(trial._trial_id), STRATEGY, CategoricalDistribution(STRATEGIES)
        )
        for trial in trials
    ]
    assert drawn[:4] == STRATEGIES[:4]
    assert set(drawn[4:]) == {STRATEGIES[3]}


def test_a_strategy_begins_with_its_default_configuration() -> None:
    starts = {name: [{f"{name}/x": 0.125, f"{name}/hidden": 1, f"{name}/width": 0.75}] for name in ("full", "scratch")}
    sampler = StrategySampler(BudgetAllocation(8), seed=0, starts=starts)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    drawn = []
    for _ in range(8):
        trial = study.ask()
        drawn.append(suggest(trial, ["full", "scratch"]))
        study.tell(trial, drawn[-1][1])
    for strategy in ("full", "scratch"):
        first, *later = [values for name, *values in drawn if name == strategy]
        assert first == [0.125, 0.75]
        assert first not in later


def test_a_default_outside_of_what_can_be_drawn_is_not_used() -> None:
    starts = {"full": [{"full/x": 5.0, "full/optimizer": "adagrad", "full/hidden": 1}]}
    study = optuna.create_study(sampler=StrategySampler(BudgetAllocation(8), seed=0, starts=starts))
    study.enqueue_trial({STRATEGY: "full"})
    trial = study.ask()
    trial.suggest_categorical(STRATEGY, ["full", "scratch"])
    assert 0 <= trial.suggest_float("full/x", 0, 1) <= 1
    assert trial.suggest_categorical("full/optimizer", ["sgd", "adamw"]) in ("sgd", "adamw")
    assert trial.suggest_int("full/hidden", 1, 2) == 1


def starts_of(strategy: str) -> list[dict[str, Any]]:
    """The default, and two starts of an earlier study."""
    return [
        {f"{strategy}/x": 0.125, f"{strategy}/hidden": 1, f"{strategy}/width": 0.75},
        {f"{strategy}/x": 0.5, f"{strategy}/hidden": 0},
        {f"{strategy}/x": 0.25, f"{strategy}/hidden": 1, f"{strategy}/width": 0.5},
    ]


def started(budget: int, strategies: list[str]) -> optuna.Study:
    starts = {name: starts_of(name) for name in strategies}
    return optuna.create_study(
        direction="maximize", sampler=StrategySampler(BudgetAllocation(budget), seed=0, starts=starts)
    )


def test_the_starts_follow_the_default_and_the_sampler_follows_them() -> None:
    study, drawn = started(12, ["full", "scratch"]), list[tuple[str, float, float]]()
    for _ in range(12):
        trial = study.ask()
        drawn.append(suggest(trial, ["full", "scratch"]))
        study.tell(trial, drawn[-1][1])
    for strategy in ("full", "scratch"):
        own = [values for name, *values in drawn if name == strategy]
        assert own[:3] == [[0.125, 0.75], [0.5, 0.0], [0.25, 0.5]]
        assert not [values for values in own[3:] if values in own[:3]]


def test_what_follows_the_starts_is_what_is_sampled_without_them() -> None:
    """TPE starts after four trials of a strategy: before, each value depends on seed and number alone."""
    studies = [started(8, ["full"]), new_study(8)]
    fourth = []
    for study in studies:
        for number in range(4):
            trial = study.ask()
            drawn = suggest(trial, ["full"])
            study.tell(trial, 0.5)
            if number == 3:
                fourth.append(drawn)
    assert fourth[0] == fourth[1]


def test_workers_at_the_same_moment_take_different_starts() -> None:
    """The third and fourth trial ask before either knows what the other was given."""
    study = started(8, ["full"])
    study.tell(first := study.ask(), suggest(first, ["full"])[1])
    trials = [study.ask(), study.ask()]
    later = [suggest(trials[1], ["full"]), suggest(trials[0], ["full"])]
    assert later == [("full", 0.25, 0.5), ("full", 0.5, 0.0)]


def test_a_trial_that_comes_back_takes_a_start_that_nobody_has() -> None:
    study = started(8, ["full"])
    cut_off = study.ask()
    study.tell(other := study.ask(), suggest(other, ["full"])[1])
    assert other.params["full/x"] == 0.125
    assert suggest(cut_off, ["full"]) == ("full", 0.5, 0.0)


@pytest.mark.parametrize(("before", "modeled"), [(3, False), (4, True)])
def test_tpe_models_a_strategy_from_its_fifth_trial_on(before: int, modeled: bool) -> None:
    study = new_study(60)
    for place in range(before):
        add(study, "full", place / 4, place / 4)
    for place in range(6):
        add(study, "scratch", place / 6, place / 6)
    study.enqueue_trial({STRATEGY: "full"})
    trial = study.ask()
    suggest(trial, ["full", "scratch"])
    attributes = study._storage.get_trial(trial._trial_id).system_attrs
    assert any(key.startswith("tpe:relative_params") for key in attributes) == modeled


class Noting(RandomSampler):
    """A sampler of a user's that notes what it is asked."""

    made: ClassVar[list[tuple[int | None, list[str]]]] = []

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.asked: list[str] = []
        self.made.append((seed, self.asked))

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        self.asked.append(f"before {trial.number} of {len(study.trials)}")

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        self.asked.append("space")
        uniform = optuna.distributions.FloatDistribution(0, 1)
        return {STRATEGY: CategoricalDistribution(["full", "scratch"]), "full/x": uniform}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, optuna.distributions.BaseDistribution],
    ) -> dict[str, Any]:
        self.asked.append(f"together {', '.join(search_space)}")
        return {"full/x": 0.625}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        self.asked.append(f"alone {param_name} of {len(study.trials)}")
        return super().sample_independent(study, trial, param_name, param_distribution)


def test_a_users_sampler_sees_all_trials_of_the_strategy_and_samples_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("noting_samplers")
    module.__dict__["Noting"] = Noting
    monkeypatch.setitem(sys.modules, "noting_samplers", module)
    monkeypatch.setattr(Noting, "made", made := [])
    starts = {"full": [{"full/x": 0.125, "full/hidden": 0}]}
    sampler = StrategySampler(BudgetAllocation(60), seed=3, starts=starts, name="noting_samplers:Noting")
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(2):
        add(study, "scratch", 0.5, 0.5)
    for _ in range(MODELED + 5):
        add(study, "full", 0.25, 0.5)
    study.enqueue_trial({STRATEGY: "full"})
    trial = study.ask()
    assert made == []
    trial.suggest_categorical(STRATEGY, ["full", "scratch"])
    assert made == []
    # One of the start's is given to nobody yet, and the strategy has had trials enough.
    assert trial.suggest_float("full/x", 0, 1) == 0.625
    trial.suggest_int("full/hidden", 0, 1)
    ((seed, asked),) = made
    number, own = MODELED + 7, MODELED + 6
    assert asked == [f"before {number} of {own}", "space", "together full/x", f"alone full/hidden of {own}"]
    # Another trial, another seed.
    for _ in range(2):
        study.enqueue_trial({STRATEGY: "full"})
        trial = study.ask()
        trial.suggest_categorical(STRATEGY, ["full", "scratch"])
        trial.suggest_float("full/x", 0, 1)
    assert len({each for each, _ in made}) == 3
    assert seed is not None


def test_a_trial_that_asks_anew_is_drawn_anew() -> None:
    """The starts are drawn once a trial; an interrupted trial returns with the same number."""
    study = started(8, ["full"])
    trial = study.ask()
    assert suggest(trial, ["full"]) == ("full", 0.125, 0.75)
    sampler = study.sampler
    assert isinstance(sampler, StrategySampler)
    drawn = sampler._draws
    assert drawn is not None
    assert drawn[0] == 0
    sampler.before_trial(study, study.get_trials(deepcopy=False)[0])
    assert sampler._draws is None
    # Nothing is sampled before the strategy is known.
    assert sampler.infer_relative_search_space(study, study.trials[0]) == {}
    assert sampler.sample_relative(study, study.trials[0], {}) == {}


def test_of_more_workers_than_starts_the_last_ones_take_the_last() -> None:
    study = started(8, ["full"])
    study.tell(first := study.ask(), suggest(first, ["full"])[1])
    trials = [study.ask() for _ in range(4)]
    strategies = [str(trial.suggest_categorical(STRATEGY, ["full"])) for trial in trials[2:]]
    assert strategies == ["full", "full"]
    # Two before it have not chosen, and two starts are left.
    assert trials[2].suggest_float("full/x", 0, 1) == 0.25


@pytest.mark.parametrize("name", ["full", "surgical"])
def test_parameters_that_some_trials_lack_are_modeled_too(name: str) -> None:
    """Optuna orders them by name, and the strategy itself comes before or after them."""
    study, names = new_study(60), [name, "scratch"]
    for place in range(12):
        study.enqueue_trial(
            {STRATEGY: name, f"{name}/x": place / 12, f"{name}/hidden": place % 2, f"{name}/width": 0.5}
        )
        trial = study.ask()
        study.tell(trial, suggest(trial, names)[1])
    study.enqueue_trial({STRATEGY: name})
    suggest(study.ask(), names)
    assert isinstance(study.sampler, StrategySampler)
    assert study.sampler._draws is not None
    assert set(study.sampler._draws[1].together) == {f"{name}/x", f"{name}/hidden", f"{name}/width"}


def test_workers_that_began_later_leave_the_first_free_start() -> None:
    study = started(8, ["full"])
    study.tell(first := study.ask(), suggest(first, ["full"])[1])
    trials = [study.ask() for _ in range(2)]
    # The other has begun later, and not chosen yet.
    assert suggest(trials[0], ["full"]) == ("full", 0.5, 0.0)
    assert suggest(trials[1], ["full"]) == ("full", 0.25, 0.5)


def test_tpe_models_at_most_250_trials_of_a_strategy() -> None:
    study = new_study(600)
    for place in range(255):
        add(study, "full", place / 255, place / 255)
    sampled(study)
    assert isinstance(study.sampler, StrategySampler)
    assert study.sampler._draws is not None
    _, draws = study.sampler._draws
    assert len(draws.view.get_trials(deepcopy=False)) == 250
