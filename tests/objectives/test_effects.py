"""Where hyperparameters have an effect: what is derived from their fields equals lists written by hand."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from frostline.objectives.config import CONDITIONS, EFFECTS, OWN_PARAMETERS, parameter_names
from frostline.objectives.strategies import BUILT_IN, STRATEGIES, takes_parameter

README = Path(__file__).parents[2] / "README.md"
FINETUNING = {"backbone_lr_ratio", "batch_norm", "head.depths"}
# Of the parameters that not all strategies take, those that each one takes.
OWN = {
    "feature_extraction": {"head.depths"},
    "partial": FINETUNING | {"freeze_depth"},
    "full": FINETUNING | {"freeze_embedding"},
    "lp_ft": FINETUNING | {"freeze_depth", "probe_epochs", "probe_learning_rate"},
    "scratch": set(),
    "gradual_unfreezing": FINETUNING - {"head.depths"} | {"freeze_depth", "unfreeze_every", "layer_decay"},
    "discriminative": FINETUNING | {"layer_decay"},
    "surgical": FINETUNING | {"freeze_depth", "trained_units"},
    "auto_rgn": FINETUNING,
    "norm_bias": {"backbone_lr_ratio", "head.depths"},
    "lora": {"backbone_lr_ratio", "head.depths", "lora_rank", "lora_alpha"},
    "l2_sp": FINETUNING | {"freeze_depth", "l2_sp_alpha", "l2_sp_beta"},
    "linear_probe_exact": {"head.depths"},
}
SHARED = {
    *("truncate", "head.pooling", "head.hidden_layers", "head.width", "head.activation", "head.normalization"),
    *(
        "head.dropout",
        "head.output",
        "head.init",
        "head.queries",
        "head.function",
        "optimizer",
        "momentum",
        "nesterov",
        "learning_rate",
    ),
    *("weight_decay", "schedule", "warmup", "gradient_clip", "ema_decay", "label_smoothing", "class_weights"),
    *("sampling", "augmentation", "randaugment_ops", "randaugment_magnitude", "views", "mixing", "mixing_alpha"),
    *("batch_size", "epochs", "patience"),
}


def test_each_parameter_is_shared_or_belongs_to_strategies():
    assert set(OWN) == BUILT_IN
    assert set(chain.from_iterable(OWN.values())) == OWN_PARAMETERS
    assert set(parameter_names()) - OWN_PARAMETERS == SHARED
    assert set().union(*(effect.strategies or () for effect in EFFECTS.values())) <= BUILT_IN


@pytest.mark.parametrize("name", OWN)
def test_a_strategy_takes_its_own_parameters_and_the_shared_ones(name: str):
    strategy = STRATEGIES[name]
    shared = {"truncate", "head.pooling"} if name == "linear_probe_exact" else SHARED
    assert strategy.takes == OWN[name]
    assert strategy.refuses == SHARED - shared
    assert {each for each in parameter_names() if takes_parameter(strategy, each)} == OWN[name] | shared


def test_the_values_for_which_a_parameter_has_an_effect():
    assert CONDITIONS == {
        "head.queries": ("head.pooling", ("attention",)),
        "head.width": ("head.hidden_layers", (1, 2)),
        "head.activation": ("head.hidden_layers", (1, 2)),
        "momentum": ("optimizer", ("sgd", "rmsprop")),
        "nesterov": ("optimizer", ("sgd",)),
        "freeze_embedding": ("optimizer", ("sgd",)),
        "warmup": ("schedule", ("cosine", "linear", "constant", "step")),
        "randaugment_ops": ("augmentation", ("randaugment",)),
        "randaugment_magnitude": ("augmentation", ("randaugment",)),
        "mixing_alpha": ("mixing", ("mixup", "cutmix")),
    }


def test_the_readme_names_each_parameter_once():
    section = README.read_text(encoding="utf-8").split("## What can be searched")[1].split("\n## ")[0]
    columns = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [re.sub(r"^\.", "head.", name) for column in columns for name in re.findall(r"`([^`]+)`", column)]
    assert sorted(named) == sorted(parameter_names())
