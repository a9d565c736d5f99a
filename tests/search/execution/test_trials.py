"""What a trial is recorded with: the parameters that have an effect in it, and no others."""

from __future__ import annotations

import optuna

from frostline.objectives.config import create_config
from frostline.objectives.strategies.plans import plan_trial
from frostline.search.execution.started_trial import active_parameters
from frostline.search.space.parsing import create_space

UNITS = 6
CONDITIONAL = {"head.width", "head.activation", "randaugment_ops", "randaugment_magnitude", "mixing_alpha"}


def recorded(**values: object) -> set[str]:
    return set(active_parameters(plan_trial(create_config({"strategy": "full", **values}), UNITS)))


def test_only_parameters_with_an_effect_are_recorded() -> None:
    assert not CONDITIONAL & recorded()
    assert not CONDITIONAL & recorded(randaugment_ops=3, mixing_alpha=1.0, augmentation="trivial")
    assert CONDITIONAL & recorded(augmentation="randaugment") == {"randaugment_ops", "randaugment_magnitude"}
    assert CONDITIONAL & recorded(mixing="mixup") == {"mixing_alpha"}
    assert CONDITIONAL & recorded(**{"head.hidden_layers": 1}) == {"head.width", "head.activation"}
    assert "layer_decay" not in recorded()


def test_what_is_recorded_makes_the_same_configuration_in_effect() -> None:
    config = create_config({"strategy": "full", "randaugment_ops": 3, "mixing": "cutmix", "mixing_alpha": 1.0})
    parameters = active_parameters(plan_trial(config, UNITS))
    del parameters["freeze_depth"]  # `full` has one, but takes none
    again = create_config(parameters)
    assert active_parameters(plan_trial(again, UNITS)) == active_parameters(plan_trial(config, UNITS))


def test_a_linear_probe_is_recorded_without_what_it_refuses() -> None:
    config = create_config({"strategy": "linear_probe_exact"})
    taken = {"strategy", "freeze_depth", "truncate", "head.pooling", "head.depths"}
    assert set(active_parameters(plan_trial(config, UNITS))) == taken


def test_spaces_ask_for_the_strength_of_a_policy_only_where_it_is_drawn() -> None:
    space = create_space(
        {
            "full": {
                "augmentation": {"choices": ["trivial", "randaugment"]},
                "randaugment_magnitude": {"low": 3, "high": 15, "when": {"augmentation": ["randaugment"]}},
                "mixing": {"choices": ["none", "mixup", "cutmix"]},
                "mixing_alpha": {"low": 0.1, "high": 1.0, "log": True, "when": {"mixing": ["mixup", "cutmix"]}},
            }
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        trial = study.ask()
        config = space.suggest(trial, "full")
        seen.add((config.augmentation, config.mixing))
        assert ("full/randaugment_magnitude" in trial.params) == (config.augmentation == "randaugment")
        assert ("full/mixing_alpha" in trial.params) == (config.mixing != "none")
    assert len(seen) == 6
