"""Plans, written out: what each strategy freezes and trains, at which rates and for how long; and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from frostline.objectives.config import create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.phases import Phase, chains, every_parameter, norms_and_biases
from frostline.objectives.strategies import STRATEGIES
from frostline.objectives.strategies.built_in import freeze_depth
from frostline.objectives.strategies.plans import plan_phases, plan_trial
from frostline.objectives.strategies.registry import Strategy

UNITS = 4
# Of the head; the units train at a tenth of it by default.
RATE = 0.5
LOW = 0.05


def plan(strategy: str, **values: Any) -> tuple[Phase, ...]:
    # What is solved has neither epochs nor a rate.
    usual = {} if strategy == "linear_probe_exact" else {"epochs": 6, "learning_rate": RATE}
    return plan_phases(create_config({"strategy": strategy, **usual, **values}), UNITS)


def told(phase: Phase) -> tuple[Any, ...]:
    """Name, frozen units, epochs, rate of the head, rates of the units."""
    return (phase.name, phase.freeze_depth, phase.epochs, phase.head_learning_rate, phase.unit_learning_rates)


@pytest.mark.parametrize(
    ("strategy", "values", "expected"),
    [
        ("feature_extraction", {}, [("head", 4, 6, RATE, ())]),
        ("partial", {"freeze_depth": 1}, [("finetune", 1, 6, RATE, (LOW,) * 3)]),
        ("partial", {"freeze_depth": 3}, [("finetune", 3, 6, RATE, (LOW,))]),
        ("full", {}, [("finetune", 0, 6, RATE, (LOW,) * 4)]),
        ("full", {"backbone_lr_ratio": 1.0}, [("finetune", 0, 6, RATE, (RATE,) * 4)]),
        ("full", {"freeze_embedding": True, "optimizer": "sgd"}, [("finetune", 1, 6, RATE, (LOW,) * 3)]),
        ("full", {"freeze_embedding": True, "optimizer": "adam"}, [("finetune", 0, 6, RATE, (LOW,) * 4)]),
        ("full", {"freeze_embedding": False, "optimizer": "sgd"}, [("finetune", 0, 6, RATE, (LOW,) * 4)]),
        ("full", {"freeze_embedding": True, "optimizer": "sgd", "truncate": 3}, [("finetune", 0, 6, RATE, (LOW,))]),
        ("full", {"truncate": 1}, [("finetune", 0, 6, RATE, (LOW,) * 3)]),
        ("lp_ft", {}, [("probe", 4, 3, RATE, ()), ("finetune", 0, 3, RATE, (LOW,) * 4)]),
        ("lp_ft", {"epochs": 5}, [("probe", 4, 2, RATE, ()), ("finetune", 0, 3, RATE, (LOW,) * 4)]),
        ("lp_ft", {"epochs": 2}, [("probe", 4, 1, RATE, ()), ("finetune", 0, 1, RATE, (LOW,) * 4)]),
        (
            "lp_ft",
            {"probe_epochs": 5, "probe_learning_rate": 2.0, "freeze_depth": 2},
            [("probe", 4, 5, 2.0, ()), ("finetune", 2, 1, RATE, (LOW,) * 2)],
        ),
        ("scratch", {}, [("scratch", 0, 6, RATE, (RATE,) * 4)]),
        ("discriminative", {"layer_decay": 0.5}, [("finetune", 0, 6, RATE, (LOW / 16, LOW / 8, LOW / 4, LOW / 2))]),
        ("surgical", {}, [("finetune", 0, 6, RATE, (LOW, 0, 0, 0))]),
        ("surgical", {"freeze_depth": 1, "trained_units": 2}, [("finetune", 1, 6, RATE, (LOW, LOW, 0))]),
        ("surgical", {"freeze_depth": 2, "trained_units": 9}, [("finetune", 2, 6, RATE, (LOW, LOW))]),
        ("auto_rgn", {}, [("finetune", 0, 6, RATE, (LOW,) * 4)]),
        ("norm_bias", {}, [("finetune", 0, 6, RATE, (LOW,) * 4)]),
        ("lora", {}, [("finetune", 0, 6, RATE, (LOW,) * 4)]),
        ("l2_sp", {"freeze_depth": 1}, [("finetune", 1, 6, RATE, (LOW,) * 3)]),
        ("linear_probe_exact", {}, [("solve", 4, 1, 0.0, ())]),
        (
            "gradual_unfreezing",
            {"unfreeze_every": 2},
            [
                ("top 0", 4, 2, RATE, ()),
                ("top 1", 3, 2, RATE, (LOW,)),
                ("top 2", 2, 2, RATE, (LOW, LOW)),
            ],
        ),
        ("gradual_unfreezing", {"unfreeze_every": 6}, [("top 0", 4, 6, RATE, ())]),
        (
            "gradual_unfreezing",
            {"unfreeze_every": 4, "layer_decay": 0.5},
            [("top 0", 4, 4, RATE, ()), ("top 1", 3, 2, RATE, (LOW / 2,))],
        ),
        (
            "gradual_unfreezing",
            {"freeze_depth": 3},
            [("top 0", 4, 1, RATE, ()), ("top 1", 3, 5, RATE, (LOW,))],
        ),
        (
            "gradual_unfreezing",
            {"unfreeze_every": 0, "patience": 1, "freeze_depth": 2},
            [("top 0", 4, 2, RATE, ()), ("top 1", 3, 2, RATE, (LOW,)), ("top 2", 2, 2, RATE, (LOW, LOW))],
        ),
    ],
)
def test_each_strategy_has_these_phases(strategy: str, values: dict[str, Any], expected: list[Any]) -> None:
    phases = plan(strategy, **values)
    assert [told(phase)[:4] for phase in phases] == [each[:4] for each in expected]
    for phase, each in zip(phases, expected, strict=True):
        assert phase.unit_learning_rates == pytest.approx(each[4])
        assert phase.batch_norm == ("eval" if strategy in ("norm_bias", "lora") else "train")
        assert (phase.selects is norms_and_biases) == (strategy == "norm_bias")
        assert (phase.selects is every_parameter) == (strategy != "norm_bias")
        assert (phase.adapt is not None) == (strategy == "lora")
        assert (phase.penalty is not None) == (strategy == "l2_sp")
        assert phase.decays_backbone == (strategy != "l2_sp")
        assert phase.relative_rates == (strategy == "auto_rgn")
        assert (phase.solve is not None) == (strategy == "linear_probe_exact")


def test_batch_norms_follow_the_configuration() -> None:
    assert [phase.batch_norm for phase in plan("lp_ft", batch_norm="eval")] == ["train", "eval"]
    assert plan("full", batch_norm="eval")[0].batch_norm == "eval"


def test_stages_share_an_optimizer_unless_each_ends_by_early_stopping() -> None:
    by_epochs = plan("gradual_unfreezing", unfreeze_every=2)
    assert [phase.continues for phase in by_epochs] == [False, True, True]
    assert not any(phase.until_plateau for phase in by_epochs)
    assert [len(chain) for chain in chains(by_epochs)] == [3]
    by_plateaus = plan("gradual_unfreezing", unfreeze_every=0, patience=2)
    assert [phase.epochs for phase in by_plateaus] == [3, 3]
    assert all(phase.until_plateau and not phase.continues for phase in by_plateaus)
    assert [len(chain) for chain in chains(by_plateaus)] == [1, 1]
    # A first phase that would continue starts a chain.
    assert [len(chain) for chain in chains(by_epochs[1:])] == [2]
    assert chains([]) == []


def test_penalties_and_adapters_get_their_parameters() -> None:
    (pulled,) = plan("l2_sp", l2_sp_alpha=0.25, l2_sp_beta=0.125)
    assert getattr(pulled.penalty, "keywords", None) == {"alpha": 0.25, "beta": 0.125}
    (adapted,) = plan("lora", lora_rank=3, lora_alpha=6.0)
    assert getattr(adapted.adapt, "keywords", None) == {"rank": 3, "alpha": 6.0}
    assert adapted.trains_only.startswith("linear layer")
    assert plan("norm_bias")[0].trains_only == "norm and no bias"


def test_a_probe_for_the_start_is_solved_before_the_other_phases() -> None:
    solved, *others = plan("full", **{"head.init": "probe", "truncate": 1})
    assert told(solved) == ("probe solution", 3, 1, 0.0, ())
    assert solved.solve is not None
    assert [told(phase) for phase in others] == [told(phase) for phase in plan("full", truncate=1)]
    assert plan_trial(create_config({"strategy": "lp_ft", "epochs": 9}), UNITS).epochs == 9
    exact = plan_trial(create_config({"strategy": "full", "epochs": 9, "head.init": "probe"}), UNITS)
    assert exact.epochs == 10


@pytest.mark.parametrize(
    ("module", "name", "trains"),
    [
        (nn.BatchNorm2d(2), "weight", True),
        (nn.LayerNorm(2), "weight", True),
        (nn.GroupNorm(1, 2), "weight", True),
        (nn.InstanceNorm2d(2, affine=True), "weight", True),
        (nn.Conv2d(1, 1, 1), "bias", True),
        (nn.Conv2d(1, 1, 1), "weight", False),
        (nn.MultiheadAttention(2, 1), "in_proj_bias", True),
        (nn.Linear(1, 1), "weight", False),
        # A class of the user's that has the name of one of torch's.
        (type("LayerNorm", (nn.Module,), {})(), "weight", False),
    ],
)
def test_norms_and_biases_are_those_of_torch(module: nn.Module, name: str, trains: bool) -> None:
    assert norms_and_biases(module, name) == trains
    assert every_parameter(module, name)


@pytest.mark.parametrize(
    ("strategy", "values", "message"),
    [
        ("full", {"truncate": 4}, "truncate must be below 4, since one unit must stay, got 4"),
        ("full", {"truncate": 5}, "truncate must be below 4"),
        ("partial", {}, r"freeze_depth must be between 1 and 3 \(this backbone has 4 units\), got None"),
        ("partial", {"freeze_depth": 0}, "between 1 and 3"),
        ("partial", {"freeze_depth": 4}, "between 1 and 3"),
        (
            "partial",
            {"freeze_depth": 2, "truncate": 2},
            r"between 1 and 1 \(this backbone has 4 units and truncate drops 2\), got 2",
        ),
        ("partial", {"freeze_depth": 1, "truncate": 3}, "it needs a unit to freeze and another to train, but this"),
        ("surgical", {"freeze_depth": 4}, r"between 0 and 3 \(this"),
        ("lp_ft", {"probe_epochs": 6}, "probe_epochs must be below epochs, got probe_epochs=6, epochs=6"),
        ("lp_ft", {"epochs": 1}, "got probe_epochs=1, epochs=1"),
        ("full", {"freeze_depth": 1}, "full takes no freeze_depth: leave it out"),
        ("linear_probe_exact", {"batch_size": 8}, "linear_probe_exact takes no batch_size"),
        ("linear_probe_exact", {"head.dropout": 0.1}, r"linear_probe_exact takes no head\.dropout"),
        ("scratch", {"head.init": "probe"}, "needs pretrained features, and scratch has none"),
        ("full", {"head.init": "probe", "head.hidden_layers": 1}, "solves a linear head"),
        ("full", {"head.init": "probe", "head.output": "cosine"}, "init = 'probe' needs head.output = 'linear'"),
        ("full", {"head.init": "zeros", "head.output": "cosine"}, "init = 'zeros' needs head.output = 'linear'"),
        ("full", {"class_weights": "balanced", "sampling": "balanced"}, "are both 'balanced'"),
        (
            "full",
            {"head.function": "own_heads:average", "head.width": 8},
            r"makes the whole head: leave out head\.width",
        ),
        ("gradual_unfreezing", {"head.depths": 2}, r"gradual_unfreezing takes no head\.depths"),
        ("partial", {"freeze_depth": 3, "head.depths": 3}, "head.depths must be at most 2 here, the trained units"),
        ("feature_extraction", {"head.depths": 5}, "head.depths must be at most 4, the number of units left, got 5"),
        ("feature_extraction", {"head.depths": 4, "truncate": 1}, "must be at most 3, .* got 4"),
        ("feature_extraction", {"head.depths": 2, "head.pooling": "gem"}, "depths above 1 needs a head.pooling of"),
        ("linear_probe_exact", {"head.pooling": "attention"}, "which a solved head cannot"),
    ],
)
def test_what_contradicts_is_refused_with_what_to_change(strategy: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        plan(strategy, **values)


@pytest.mark.parametrize(
    ("strategy", "values"),
    [
        ("feature_extraction", {"head.depths": 4}),
        ("feature_extraction", {"head.depths": 3, "truncate": 1}),
        ("feature_extraction", {"head.depths": 1, "head.pooling": "gem"}),
        ("feature_extraction", {"head.pooling": "attention"}),
        ("full", {"head.init": "zeros"}),
        ("full", {"head.output": "cosine"}),
        ("full", {"head.hidden_layers": 2}),
        ("full", {"class_weights": "balanced"}),
        ("full", {"sampling": "balanced"}),
        ("full", {"truncate": 3}),
        ("full", {"head.function": "own_heads:average"}),
        ("full", {"head.function": "own_heads:average", "head.dropout": float("0")}),
        ("lp_ft", {"probe_epochs": 5, "freeze_depth": 3}),
    ],
)
def test_what_comes_near_is_not_refused(strategy: str, values: dict[str, Any]) -> None:
    assert plan(strategy, **values)


def test_a_depth_is_checked_against_one_unit_too() -> None:
    assert freeze_depth(create_config({"strategy": "lp_ft"}), 1, lowest=0) == 0
    with pytest.raises(InvalidInputError, match="but this backbone has 1 unit: leave"):
        freeze_depth(create_config({"strategy": "partial", "freeze_depth": 1}), 1, lowest=1)
    with pytest.raises(InvalidInputError, match="a unit to freeze"):
        freeze_depth(create_config({"strategy": "lp_ft"}), 0, lowest=0)
    with pytest.raises(InvalidInputError, match="a unit to freeze"):
        freeze_depth(create_config({"strategy": "partial", "freeze_depth": 1}), 0, lowest=1)
    assert freeze_depth(create_config({"strategy": "partial", "freeze_depth": 1}), 2, lowest=1) == 1


@pytest.mark.parametrize("values", [{}, {"freeze_depth": 2}])
def test_after_a_solved_head_all_epochs_are_of_the_units(values: dict[str, Any]) -> None:
    *_, last = plan("lp_ft", **{"head.init": "probe", **values})
    assert (last.name, last.epochs, last.freeze_depth) == ("finetune", 6, values.get("freeze_depth", 0))


@pytest.mark.parametrize(("frozen", "reach"), [(4, 4), (3, 2), (2, 3), (1, 4), (0, 4)])
def test_heads_see_the_units_that_train_in_every_phase_and_the_one_before(frozen: int, reach: int) -> None:
    last = Phase("last", frozen, 1, 0.1, (0.1,) * (UNITS - frozen))
    phases = (Phase("first", UNITS, 1, 0.1), last)
    STRATEGIES.register(Strategy("deep", "", lambda config, units: phases, takes=frozenset({"head.depths"})))
    assert plan("deep", **{"head.depths": reach}) == phases
    with pytest.raises(InvalidInputError, match=f"head.depths must be at most {reach}"):
        plan("deep", **{"head.depths": reach + 1})


def test_a_head_in_a_function_or_with_queries_cannot_be_solved() -> None:
    (solved,) = plan("linear_probe_exact")
    for name, phases in (("solved", (solved,)), ("both", (solved, replace(solved, name="trained", solve=None)))):
        STRATEGIES.register(Strategy(name, "", lambda config, units, phases=phases: phases))
        with pytest.raises(InvalidInputError, match="makes a head that trains in steps, and this one is solved"):
            plan(name, **{"head.function": "own_heads:average"})
    with pytest.raises(InvalidInputError, match="which a solved head cannot"):
        plan("solved", **{"head.pooling": "attention"})
    # Where a phase trains in steps, queries learn.
    assert len(plan("both", **{"head.pooling": "attention"})) == 2


GOOD = Phase("one", 3, 2, 0.1, (0.1,))


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((), "its plan has no phase"),
        ((GOOD, GOOD), "names two phases alike: one, one"),
        ((replace(GOOD, freeze_depth=5),), "freezes 5 units in phase 'one', of 4"),
        ((replace(GOOD, freeze_depth=-1),), "freezes -1 units"),
        ((replace(GOOD, freeze_depth=2),), r"gives 1 unit_learning_rates in phase 'one', needs 4 - 2"),
        ((replace(GOOD, freeze_depth=4),), "gives 1 unit_learning_rates"),
        ((replace(GOOD, epochs=0),), "gives phase 'one' 0 epochs"),
        ((replace(GOOD, until_plateau=True, continues=True),), "whose length until_plateau leaves open"),
    ],
)
def test_plans_that_do_not_fit_the_backbone_are_their_authors_mistakes(phases: tuple[Phase, ...], message: str) -> None:
    STRATEGIES.register(Strategy("mistaken", "", lambda config, units: phases))
    with pytest.raises(InvalidInputError, match=f"mistaken: .*{message}"):
        plan("mistaken")


@pytest.mark.parametrize(
    "phases",
    [
        (GOOD,),
        (replace(GOOD, epochs=1),),
        (replace(GOOD, until_plateau=True),),
        (GOOD, replace(GOOD, name="two", freeze_depth=4, unit_learning_rates=(), continues=True)),
        (replace(GOOD, freeze_depth=0, unit_learning_rates=(0.1,) * 4),),
    ],
)
def test_plans_that_fit_are_taken_as_they_are(phases: tuple[Phase, ...]) -> None:
    STRATEGIES.register(Strategy("fitting", "", lambda config, units: phases))
    assert plan("fitting") == phases
