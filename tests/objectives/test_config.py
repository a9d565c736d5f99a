"""Configurations: flat and nested names agree, faults are named, devices are checked."""

from __future__ import annotations

import pytest
from torchvision.models import get_model_weights

from frostline.objectives.backbones.model_sources import preprocessing_for
from frostline.objectives.config import TrialConfig, create_config, flatten, nest, parameter_names, without_effect
from frostline.objectives.devices import choose_device
from frostline.objectives.errors import InvalidInputError


def test_flat_and_nested_are_inverse():
    config = create_config({"strategy": "full", "head.width": 7, "epochs": 3})
    assert config.head.width == 7
    assert create_config(flatten(config)) == config
    assert nest({"a": 1, "head.width": 2, "head.init": 3}) == {"a": 1, "head": {"width": 2, "init": 3}}


def test_all_faults_are_told_at_once_by_name():
    with pytest.raises(InvalidInputError) as error:
        create_config({"strategy": "full", "epochs": 0, "head.pooling": "median", "learning_rat": 1.0})
    text = "\n".join(error.value.faults)
    assert len(error.value.faults) == 3
    for part in ("epochs", "head.pooling", "'avg'", "learning_rat"):
        assert part in text


def test_parameters_without_effect_are_told():
    config = create_config({"strategy": "full", "head.width": 7, "randaugment_ops": 3, "mixing_alpha": 1.0})
    names = {"head.width", "head.activation", "randaugment_ops", "randaugment_magnitude", "mixing_alpha"}
    names |= {"momentum", "nesterov", "freeze_embedding", "head.queries"}
    assert without_effect(config) == names
    values = {"strategy": "full", "head.hidden_layers": 2, "augmentation": "randaugment", "mixing": "cutmix"}
    values |= {"head.pooling": "attention"}
    assert without_effect(create_config({**values, "optimizer": "sgd"})) == set()
    assert without_effect(create_config({**values, "optimizer": "sgd", "schedule": "one_cycle"})) == {"warmup"}
    assert names <= set(parameter_names())


def test_a_configuration_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        TrialConfig(strategy="full").epochs = 3  # type: ignore[misc]


def test_parameters_are_named_once():
    names = parameter_names()
    assert "strategy" not in names
    assert {"freeze_depth", "head.dropout", "learning_rate"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu"])
def test_devices_that_are_not_here_are_refused(name: str):
    with pytest.raises(InvalidInputError, match=name):
        choose_device(name)


def test_preprocessing_is_the_weights_own():
    for weights in ("IMAGENET1K_V1", "IMAGENET1K_V2"):
        preset = get_model_weights("resnet50")[weights].transforms()
        own = preprocessing_for("resnet50", weights)
        assert (own.image_size, own.resize_size) == (preset.crop_size[0], preset.resize_size[0])
        assert (list(own.mean), list(own.std)) == (preset.mean, preset.std)
        assert own.interpolation == preset.interpolation.value
    assert preprocessing_for("resnet50", "IMAGENET1K_V1", 112).resize_size == 128
