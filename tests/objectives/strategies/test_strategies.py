"""Each strategy against its definition: what trains, what stays, from which weights, with which optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from frostline.objectives.config import TrialConfig, create_config
from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import FinetuneResult, finetune
from frostline.objectives.strategies import STRATEGIES, get_strategy
from frostline.objectives.strategies.plans import plan_phases
from frostline.objectives.training import optimizers

from ..tiny import pool, task

UNITS = 18


def config(strategy: str, **values: object) -> TrialConfig:
    return create_config({"strategy": strategy, "epochs": 2, "batch_size": 8, "learning_rate": 1e-2, **values})


def train(configuration: TrialConfig, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor], FinetuneResult]:
    """Backbone tensors before and after a trial, and its result."""
    before = {name: value.clone() for name, value in pool().fresh(pretrained=True, seed=0).model.state_dict().items()}
    result = finetune(configuration, task(), seed=seed)
    return before, result.network.backbone_state(), result


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, set[str]]:
    """Names of the tensors that changed, by unit."""
    units = pool().pretrained.unit_tensors()
    return {
        unit: {name for name in names if not torch.equal(before[name], after[name])} for unit, names in units.items()
    }


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_feature_extraction_moves_nothing_of_the_backbone():
    before, after, result = train(config("feature_extraction"))
    assert not any(moved(before, after).values())
    assert result.trainable_parameters == sum(p.numel() for p in result.network.head.parameters())


@pytest.mark.parametrize("depth", [1, 9, 17])
def test_partial_moves_exactly_the_units_after_the_cut(depth: int):
    before, after, result = train(config("partial", freeze_depth=depth))
    changes = list(moved(before, after).values())
    assert not any(changes[:depth]), "frozen units moved, statistics included"
    names = list(pool().pretrained.unit_tensors().values())
    for changed, tensors in zip(changes[depth:], names[depth:], strict=True):
        assert changed == set(tensors)
    assert [check.freeze_depth for check in result.certificates] == [depth]
    assert all(check.passed for check in result.certificates)


def test_full_moves_every_weight_and_statistic():
    before, after, _ = train(config("full"))
    for unit, names in pool().pretrained.unit_tensors().items():
        assert moved(before, after)[unit] == set(names)


@pytest.mark.parametrize(("strategy", "extra"), [("full", {}), ("partial", {"freeze_depth": 9}), ("lp_ft", {})])
def test_batch_norm_eval_keeps_statistics_and_trains_weights(strategy: str, extra: dict[str, int]):
    before, after, _ = train(config(strategy, batch_norm="eval", **extra))
    changed = set().union(*moved(before, after).values())
    assert changed, "the trainable units must train"
    assert not any(is_statistic(name) for name in changed)


def test_lp_ft_trains_the_head_alone_first_and_then_everything():
    states: dict[str, list[dict[str, Tensor]]] = {"probe": [], "finetune": []}

    def on_epoch(result: EpochResult) -> None:
        state = pool().pretrained.model.state_dict()
        states[result.phase].append({name: value.clone() for name, value in state.items()})

    before = {name: value.clone() for name, value in pool().fresh(pretrained=True, seed=0).model.state_dict().items()}
    result = finetune(config("lp_ft", epochs=4, probe_epochs=2), task(), seed=0, on_epoch=on_epoch)
    assert [epoch.phase for epoch in result.epochs] == ["probe", "probe", "finetune", "finetune"]
    for state in states["probe"]:
        assert not any(moved(before, state).values())
    for unit, names in pool().pretrained.unit_tensors().items():
        assert moved(before, states["finetune"][0])[unit] == set(names)


def test_a_solved_head_is_the_probe_of_lp_ft():
    phases = plan_phases(config("lp_ft", epochs=4, **{"head.init": "probe"}), units=18)
    assert [(phase.freeze_depth, phase.epochs, bool(phase.solve)) for phase in phases] == [(18, 1, True), (0, 4, False)]
    steps = plan_phases(config("lp_ft", epochs=4, probe_epochs=1, **{"head.init": "probe"}), units=18)
    assert [(phase.freeze_depth, phase.epochs) for phase in steps] == [(18, 1), (18, 1), (0, 3)]


def test_lp_ft_may_keep_the_first_units_frozen():
    before, after, result = train(config("lp_ft", freeze_depth=9))
    changes = list(moved(before, after).values())
    assert not any(changes[:9])
    assert all(changes[9:])
    assert [check.freeze_depth for check in result.certificates] == [UNITS, 9]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lp_ft_builds_a_new_optimizer_that_holds_the_backbone(weight_decay: float, monkeypatch: pytest.MonkeyPatch):
    """Quick-Tune's never trains the backbone when weight decay is set: its groups date from the probe."""
    built: list[torch.optim.Optimizer] = []

    def spy(*args: object) -> torch.optim.Optimizer:
        built.append(original(*args))  # type: ignore[arg-type]
        return built[-1]

    original = optimizers.create_optimizer
    monkeypatch.setattr(optimizers, "create_optimizer", spy)
    before, after, _ = train(config("lp_ft", weight_decay=weight_decay, probe_learning_rate=0.05))
    probe, finetuning = built
    assert probe is not finetuning
    assert {group["name"] for group in probe.param_groups} == {"head"}
    assert {group["name"] for group in finetuning.param_groups} == {"head", "backbone"}
    assert {group["peak"] for group in probe.param_groups} == {0.05}
    assert all(moved(before, after).values())


def test_lp_ft_starts_its_second_phase_from_the_best_head_of_the_first():
    heads: list[dict[str, Tensor]] = []
    original = optimizers.create_optimizer

    def spy(configuration: TrialConfig, network: torch.nn.Module) -> torch.optim.Optimizer:
        heads.append({name: value.clone() for name, value in network.head.state_dict().items()})  # type: ignore[union-attr]
        return original(configuration, network)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers, "create_optimizer", spy)
        finetune(config("lp_ft", epochs=4, probe_epochs=2), task(), seed=0)
    probed = finetune(config("feature_extraction", epochs=2), task(), seed=0)
    expected = probed.network.head.state_dict()
    assert all(torch.equal(heads[1][name], expected[name]) for name in expected)


def test_scratch_starts_from_random_weights_of_its_seed():
    before, _, _ = train(config("scratch", epochs=1, learning_rate=1e-8))
    first, second = (
        finetune(config("scratch", epochs=1, learning_rate=1e-8), task(), seed=seed).network.backbone_state()
        for seed in (1, 2)
    )
    weight = next(name for name, value in before.items() if value.ndim == 4)
    assert not torch.allclose(before[weight], first[weight], atol=1e-4)
    assert not torch.allclose(first[weight], second[weight], atol=1e-4)


def test_freezing_all_but_the_head_would_be_feature_extraction():
    """Depth n has one name; partial goes up to n - 1."""
    with pytest.raises(InvalidInputError, match="between 1 and 17"):
        plan_phases(config("partial", freeze_depth=UNITS), UNITS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "partial"}, "freeze_depth must be between 1 and 17"),
        ({"strategy": "partial", "freeze_depth": 0}, "between 1 and 17"),
        ({"strategy": "full", "freeze_depth": 3}, "full takes no freeze_depth"),
        ({"strategy": "scratch", "backbone_lr_ratio": 0.5}, "scratch takes no backbone_lr_ratio"),
        ({"strategy": "feature_extraction", "batch_norm": "eval"}, "feature_extraction takes no batch_norm"),
        ({"strategy": "lp_ft", "epochs": 2, "probe_epochs": 2}, "probe_epochs must be below epochs"),
        ({"strategy": "lp_ft", "epochs": 1}, "probe_epochs must be below epochs"),
        ({"strategy": "lp_ft", "freeze_depth": 18}, "between 0 and 17"),
        ({"strategy": "featur_extraction"}, "Did you mean 'feature_extraction'"),
    ],
)
def test_configurations_that_no_strategy_can_run_are_refused(values: dict[str, object], message: str):
    with pytest.raises(InvalidInputError, match=message):
        plan_phases(create_config(values), UNITS)


def test_phases_use_up_the_epochs_and_the_two_rates():
    for name in STRATEGIES:
        if name == "linear_probe_exact":
            continue
        extra = {"freeze_depth": 4} if name == "partial" else {}
        phases = plan_phases(config(name, epochs=7, **extra), UNITS)
        assert sum(phase.epochs for phase in phases) == 7
    phase = plan_phases(config("full", learning_rate=0.02, backbone_lr_ratio=0.25), UNITS)[0]
    assert (phase.head_learning_rate, set(phase.unit_learning_rates)) == (0.02, {0.005})


def test_only_scratch_ignores_the_pretrained_weights():
    assert [name for name in STRATEGIES if not get_strategy(name).pretrained] == ["scratch"]
