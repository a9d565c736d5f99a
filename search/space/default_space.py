"""The default search space: domains for each strategy, with a good first configuration."""

from __future__ import annotations

from typing import Any

from ...objectives.config import CONDITIONS, nest
from ...objectives.strategies import STRATEGIES, takes_parameter

# A trial sees about this many images, so small and large datasets cost the same (BiT-HyperRule fixes steps, not
# epochs, for the same reason).
IMAGES_PER_TRIAL = 6000
EPOCHS_RANGE = (5, 40)
# With few views, the frozen prefix is computed once per view instead of once per epoch.
VIEWS = 4

# The strategies that compete by default; the others compete only if the user names them.
COMPETING = ("feature_extraction", "partial", "full", "lp_ft", "scratch")

# Without `trivial` and `randaugment`: no gain over `flip_crop` was seen at these budgets (11 paired trainings of a
# MobileNetV2 on three small sets of photos: 7 lower, 2 higher; weak evidence, so users can still ask for them).
# Without mixing: it would compute the frozen prefix again at every step.
_AUGMENTATION = {"choices": ["none", "flip_crop", "resized_crop"], "default": "flip_crop"}
# The head starts where logistic regression ends. That was worth 7.9 +- 3.4 points of test accuracy in 14 pairs of
# trainings of the head alone (six datasets of about 240 test images, two networks at 64 px), and nothing to `full`
# (1.4 +- 1.2 points less, 13 pairs).
_SOLVED_FIRST = {"choices": ["probe", "default"], "default": "probe", "when": {"head.hidden_layers": [0]}}
# A head on the last eight units is better than one on the last unit on every dataset and network tried, by 6 points on
# average (80 to 400 images; benchmarks/results/head_depths.md), and so is what is fine-tuned from there
# (benchmarks/results/starting_heads.md). The seconds and the memory of a solved head grow with images times features:
# so many units up to so many training images.
_UNITS_SEEN = {8: 2_000, 4: 10_000, 1: None}
_BATCH_SIZE = {"choices": [16, 32, 64], "default": 32}


def default_tables(train_images: int = 1000) -> dict[str, dict[str, Any]]:
    """Return the default space as tables for :func:`create_space`.

    Args:
        train_images: Size of the training split, which sets the epochs.

    Examples:
        >>> from frostline.search.space import default_tables
        >>> default_tables(train_images=300)["full"]["epochs"]
        20
        >>> default_tables(train_images=100_000)["full"]["epochs"]
        5
    """
    depths = _units_seen(train_images)
    epochs = min(EPOCHS_RANGE[1], max(EPOCHS_RANGE[0], round(IMAGES_PER_TRIAL / train_images)))
    # The defaults were found on parts of two datasets of photos and satellite tiles (200 to 600 images) with four
    # pretrained networks: 0.04 to 0.20 above a backbone at a tenth of 2e-3 in batches of 32 whose batch norms train.
    finetuning = {
        "learning_rate": {"low": 2e-4, "high": 2e-2, "log": True, "default": 1e-3},
        "backbone_lr_ratio": {"low": 0.01, "high": 1.0, "log": True, "default": 0.3},
        "augmentation": _AUGMENTATION,
        "batch_norm": {"choices": ["train", "eval"], "default": "eval"},
        "batch_size": {**_BATCH_SIZE, "default": 16},
        "epochs": epochs,
    }
    # From a head that is solved on several units, the backbone trains at the head's rate.
    from_solved = {
        **finetuning,
        "learning_rate": {**finetuning["learning_rate"], "low": 3e-5, "default": 3e-4},
        "backbone_lr_ratio": {**finetuning["backbone_lr_ratio"], "default": 1.0},
        "head": {"init": _SOLVED_FIRST, "depths": depths},
        "views": VIEWS,
    }
    # A solved head has no epochs before: half of them are left, as after a probe of the other half.
    half, steps = max(EPOCHS_RANGE[0], epochs // 2), {"when": {"head.init": ["default"]}}
    tables = {
        "shared": _shared(),
        "feature_extraction": {
            # A solved head needs small steps: 1e-4 was 3.0 +- 2.5 points of test accuracy better than 3e-3 in 16 pairs
            # (four datasets, two networks at 64 px).
            "learning_rate": {"low": 3e-5, "high": 1e-1, "log": True, "default": 1e-4},
            "augmentation": {**_AUGMENTATION, "default": "none"},
            "head": {"init": _SOLVED_FIRST, "depths": depths},
            "views": VIEWS,
            "epochs": 3 * epochs,
        },
        "partial": {**from_solved, "freeze_depth": {"low": 1, "high": -1, "default": -6}},
        "full": finetuning,
        "lp_ft": {
            **from_solved,
            "freeze_depth": {"low": 0, "high": -1, "default": 0},
            "epochs": half,
            "probe_epochs": {"low": 1, "high": half - 2, "default": half // 2, **steps},
            "probe_learning_rate": {"low": 3e-4, "high": 3e-2, "log": True, "default": 3e-3, **steps},
        },
        "scratch": {
            "learning_rate": {"low": 2e-4, "high": 2e-2, "log": True, "default": 2e-3},
            "augmentation": _AUGMENTATION,
            "epochs": epochs,
        },
        **_further(finetuning),
        "linear_probe_exact": {
            "head": {"pooling": {"choices": ["avg", "max", "avgmax"], "default": "avg"}, "depths": depths}
        },
    }
    return tables | _of_plugins(tables, epochs)


def _units_seen(train_images: int) -> dict[str, Any]:
    """Domain of the number of last units that a head sees."""
    fitting = [units for units, images in _UNITS_SEEN.items() if images is None or train_images <= images]
    return {"choices": sorted(fitting), "default": max(fitting)}


def _of_plugins(tables: dict[str, dict[str, Any]], epochs: int) -> dict[str, dict[str, Any]]:
    """Return the tables of strategies with their own domains; strategies without epochs get the default epochs."""
    others = [strategy for strategy in STRATEGIES.values() if strategy.name not in tables]
    return {
        strategy.name: ({"epochs": epochs} if takes_parameter(strategy, "epochs") else {}) | dict(strategy.domains)
        for strategy in others
    }


def _further(finetuning: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables of the strategies that compete only if named."""
    depth = {"low": 0, "high": -1, "default": 0}
    decay = {"low": 0.5, "high": 1.0, "default": 0.8}
    # Few weights train, from pretrained values: they tolerate the head's rate and more.
    few = {name: domain for name, domain in finetuning.items() if name != "batch_norm"} | {
        "backbone_lr_ratio": {"low": 0.1, "high": 10.0, "log": True, "default": 1.0}
    }
    return {
        "gradual_unfreezing": {
            **finetuning,
            "unfreeze_every": {"low": 1, "high": 3, "default": 1},
            "layer_decay": decay,
        },
        "discriminative": {**finetuning, "layer_decay": decay},
        "surgical": {
            **finetuning,
            "freeze_depth": depth,
            "trained_units": {"low": 1, "high": 4, "default": 2},
            "views": VIEWS,
        },
        # The rate of the unit with the largest relative gradient: all others are below it.
        "auto_rgn": {**finetuning, "backbone_lr_ratio": {"low": 0.03, "high": 3.0, "log": True, "default": 1.0}},
        "norm_bias": few,
        "lora": {**few, "lora_rank": {"choices": [2, 4, 8, 16], "default": 8}},
        "l2_sp": {
            **finetuning,
            "freeze_depth": depth,
            "l2_sp_alpha": {"low": 1e-4, "high": 1.0, "log": True, "default": 1e-2},
            "l2_sp_beta": {"low": 1e-4, "high": 1e-1, "log": True, "default": 1e-2},
        },
    }


def _shared() -> dict[str, Any]:
    domains = {
        "optimizer": {"choices": ["adamw", "sgd"], "default": "adamw"},
        "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True, "default": 1e-3},
        "schedule": {"choices": ["cosine", "linear", "constant"], "default": "cosine"},
        "warmup": {"low": 0.0, "high": 0.3, "default": 0.1},
        "label_smoothing": {"low": 0.0, "high": 0.2, "default": 0.0},
        "batch_size": _BATCH_SIZE,
        "patience": 5,
        "head.pooling": {"choices": ["avg", "max", "avgmax"], "default": "avg"},
        "head.hidden_layers": {"low": 0, "high": 1, "default": 0},
        "head.dropout": {"low": 0.0, "high": 0.5, "default": 0.1},
        "head.normalization": {"choices": ["none", "batch", "layer"], "default": "none"},
        "head.width": {"low": 64, "high": 1024, "log": True, "default": 256},
        "head.activation": {"choices": ["relu", "gelu"], "default": "relu"},
        "head.init": "default",
    }
    return nest(_with_conditions(domains))


def _with_conditions(domains: dict[str, Any]) -> dict[str, Any]:
    """Limit each domain whose parameter has no effect for some values of another one to the other values."""
    conditional = dict(domains)
    for name, (other, effective) in CONDITIONS.items():
        if name in domains and other in domains:
            values = _values(domains[other])
            allowed = [value for value in values if value in effective]
            if allowed != values:
                conditional[name] = {**domains[name], "when": {other: allowed}}
    return conditional


def _values(domain: dict[str, Any]) -> list[Any]:
    """All values of categories or of a range of integers."""
    return domain["choices"] if "choices" in domain else list(range(domain["low"], domain["high"] + 1))
