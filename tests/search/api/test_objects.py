"""A user's metric and sampler in whole studies: the same numbers as what is built in, and mistakes before training."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from frostline.objectives.errors import InvalidInputError
from frostline.objectives.metrics import weighted
from frostline.search import Domain, FrostlineError, run_search
from frostline.search.analysis.score_draws import draw_scores
from frostline.search.api.objects import name_metric, name_sampler
from frostline.search.sampling import create_user_sampler

from ...few_digits import few_digits

metrics: Any = importlib.import_module("own_metrics")
samplers: Any = importlib.import_module("own_samplers")
LEARNING_RATE = Domain(low=1e-3, high=1e-1, log=True, default=2e-2)
SPACE = {
    "full": {
        "epochs": 4,
        "backbone_lr_ratio": 1.0,
        "batch_size": 16,
        "learning_rate": LEARNING_RATE,
        "head.dropout": Domain(low=0.0, high=0.5),
    }
}
HEAD = {"feature_extraction": {"epochs": 1, "learning_rate": LEARNING_RATE}}


def search(place: Path, **given: Any) -> Any:
    settings = {"trials": 3, "space": SPACE, "finals_seeds": 1, "name": "tiny", **given}
    return run_search(
        few_digits(),
        **{"backbone": "tiny_network:create", "weights": "none", "image_size": 32, "device": "cpu", "audit": False},
        workspace=place,
        **settings,
    )


def test_a_users_accuracy_gives_the_study_of_the_built_in_one(tmp_path: Path) -> None:
    mine, known = (
        search(tmp_path / name, metric=metric, trials=2) for name, metric in (("a", metrics.share_right), ("b", None))
    )
    assert mine.settings["metric"] == "own_metrics:share_right"
    for column in ("score", "params_learning_rate", "params_head.dropout"):
        assert mine.trials[column].tolist() == known.trials[column].tolist()
    assert mine.finals["test_score"].tolist() == known.finals["test_score"].tolist()
    # Better than chance, so that equal numbers say something.
    assert max(mine.trials["score"]) > 0.5
    assert "share right" in mine.report(tmp_path / "page.html").read_text(encoding="utf-8")
    # The same call returns the same study, with the comparison that was kept.
    assert search(tmp_path / "a", metric=metrics.share_right, trials=2).verdict == mine.verdict


def test_its_intervals_are_those_of_the_built_in_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=120)
    seeds = [rng.dirichlet(np.ones(3), size=120) for _ in range(2)]
    mine, known = (
        draw_scores([[weighted(name, each, labels) for each in seeds]], labels, seed=0, draws=200)
        for name in ("own_metrics:share_right", "accuracy")
    )
    assert np.array_equal(mine.scores, known.scores)


def test_a_users_sampler_samples_within_strategies(tmp_path: Path) -> None:
    rates = {
        name: search(tmp_path / name, sampler=sampler, space=HEAD, trials=2).trials["params_learning_rate"].tolist()
        for name, sampler in {"a": samplers.seeded, "b": samplers.seeded, "c": samplers.other_seed}.items()
    }
    # The first trial is the default configuration.
    assert {values[0] for values in rates.values()} == {2e-2}
    assert rates["a"] == rates["b"]
    assert len({*rates["a"], *rates["c"]}) == 3


def test_a_sampler_starts_anew_for_each_trial() -> None:
    def drawn(name: str, seed: int) -> float:
        return optuna.create_study(sampler=create_user_sampler(name, seed)).ask().suggest_float("x", 0, 1)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in ("own_samplers:seeded", "own_samplers:plain_tpe", "optuna.samplers:RandomSampler"):
        assert drawn(name, 1) == drawn(name, 1) != drawn(name, 2)
    assert drawn("own_samplers:seeded", 1) != drawn("own_samplers:other_seed", 1)
    # What a factory makes with a seed is what Optuna makes with it.
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    assert drawn("optuna.samplers:RandomSampler", 5) == study.ask().suggest_float("x", 0, 1)


def test_objects_have_importable_names() -> None:
    assert name_metric(metrics.top_two) == "own_metrics:top_two"
    assert name_metric("macro_f1") == "macro_f1"
    assert name_sampler(samplers.seeded) == "own_samplers:seeded"
    assert name_sampler(samplers.plain_tpe) == "own_samplers:plain_tpe"
    assert create_user_sampler(name_sampler(optuna.samplers.QMCSampler), 1).__class__ is optuna.samplers.QMCSampler
    with pytest.raises(InvalidInputError, match=r"is at the top of no module.*sampler=optuna.samplers.RandomSampler"):
        name_sampler(optuna.samplers.RandomSampler(seed=1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": lambda probabilities, labels: 1.0}, "metric: "),
        ({"metric": partial(metrics.share_right)}, "metric is a partial. Give a name, or a function of probabilities"),
        ({"metric": metrics.not_a_number}, "Metric 'own_metrics:not_a_number' returns nan"),
        ({"metric": metrics.each_image}, "it must return one number"),
        ({"metric": "own_metrics:share_rigth"}, "Did you mean 'share_right'?"),
        ({"sampler": 3}, "sampler is a int. Give a name, or an optuna.samplers.BaseSampler"),
        ({"sampler": samplers.no_sampler}, "Sampler 'own_samplers:no_sampler' returns a int. Give an optuna.samplers"),
        ({"sampler": "own_samplers:number"}, "is of type int. Give an optuna.samplers.BaseSampler"),
        ({"sampler": samplers.FailingSampler}, "fails on the space of full: RuntimeError: no value"),
        ({"sampler": "acuracy"}, "'acuracy' is not module:sampler, such as my_module:my_sampler"),
        ({"sampler": "acuracy:own"}, "there is no module 'acuracy' here"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_said_before_anything_is_made(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError) as raised:
        search(tmp_path / "ws", **given)
    assert said in str(raised.value)
    assert raised.value.wrong_input
    assert not (tmp_path / "ws").exists()
