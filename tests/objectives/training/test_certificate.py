"""The frozen certificate: what it states is so, and each way of breaking C1 fails it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from frostline.objectives.config import HeadConfig
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.finetune import finetune
from frostline.objectives.networks.heads import create_head
from frostline.objectives.networks.network import Network
from frostline.objectives.strategies.plans import plan_phases
from frostline.objectives.training.certificate import certify
from frostline.objectives.training.optimizers import Optimization

from ..strategies.test_strategies import UNITS, config
from ..tiny import pool, task


def prepared(strategy: str = "partial", **values: object) -> tuple[Network, Optimization]:
    configuration = config(strategy, **values)
    backbone = pool().fresh(pretrained=True, seed=0)
    phase = plan_phases(configuration, UNITS)[-1]
    network = Network(backbone, phase, create_head(HeadConfig(), backbone.units[-1].output_shape, 3))
    return network, Optimization(configuration, network, steps=5)


def test_it_states_what_was_frozen_what_trained_and_at_which_rate():
    certificate = certify(*prepared(freeze_depth=9, weight_decay=0.1))
    tensors = list(pool().pretrained.unit_tensors().values())
    parameters = dict(pool().pretrained.model.named_parameters())
    frozen = {name for unit in tensors[:9] for name in unit if name in parameters}
    trained = {name for unit in tensors[9:] for name in unit if name in parameters}
    assert set(certificate.frozen) == frozen
    assert certificate.frozen_parameters == sum(parameters[name].numel() for name in frozen)
    assert {name for name in certificate.trainable if not name.startswith("head.")} == trained
    assert certificate.groups is not None
    held = [name for group in certificate.groups for name in group.parameters]
    assert sorted(held) == sorted(certificate.trainable)
    assert {(group.name, group.learning_rate) for group in certificate.groups} == {("head", 1e-2), ("backbone", 1e-3)}
    norms = {name for name, module in pool().pretrained.model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert set(certificate.batch_norms) == norms
    first = next(name for name in tensors[0] if name.endswith("running_mean")).removesuffix(".running_mean")
    last = next(name for name in tensors[-1] if name.endswith("running_mean")).removesuffix(".running_mean")
    assert (certificate.batch_norms[first], certificate.batch_norms[last]) == ("eval", "train")
    assert certificate.passed
    assert json.loads(json.dumps(certificate.describe()))["passed"] is True


@pytest.mark.parametrize("which", ["running_mean", "weight", "num_batches_tracked"])
def test_a_frozen_tensor_that_moved_fails_it(which: str):
    network, optimization = prepared(freeze_depth=9)
    tensor = next(value for name, value in network.prefix.state_dict().items() if name.endswith(which))
    tensor.add_(1)
    with pytest.raises(TrainingFailedError, match="frozen units changed"):
        certify(network, optimization).require()


def test_a_frozen_unit_in_training_mode_fails_it():
    network, optimization = prepared("surgical", freeze_depth=4, trained_units=2)
    network.train = lambda mode=True: nn.Module.train(network, mode)  # type: ignore[method-assign]
    with pytest.raises(TrainingFailedError, match="frozen modules were in training mode"):
        certify(network, optimization).require()


def test_a_frozen_parameter_in_a_group_fails_it():
    network, optimization = prepared(freeze_depth=9)
    stray = next(iter(network.prefix.parameters()))
    optimization.optimizer.add_param_group({"params": [stray], "name": "stray", "peak": 0.1})
    with pytest.raises(TrainingFailedError, match="are frozen but in a group"):
        certify(network, optimization).require()


def test_a_trainable_parameter_without_a_group_fails_it():
    network, optimization = prepared(freeze_depth=9)
    optimization.optimizer.param_groups[0]["params"].pop()
    with pytest.raises(TrainingFailedError, match="train but are in no group"):
        certify(network, optimization).require()


def test_a_trial_whose_frozen_statistics_drift_fails(monkeypatch: pytest.MonkeyPatch):
    """What Quick-Tune and fastai do: ``train()`` on the whole network each epoch."""
    from frostline.objectives.networks import frozen_prefix

    monkeypatch.setattr(frozen_prefix.FrozenPrefix, "train", nn.Module.train)
    with pytest.raises(TrainingFailedError, match="training mode"):
        finetune(config("partial", freeze_depth=9), task(), seed=0)


def test_gradients_never_reach_what_is_frozen():
    network, _ = prepared("surgical", freeze_depth=4, trained_units=2)
    network.train()
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    trainable = {name for name, _ in network.trainable()}
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == trainable


def test_faults_name_the_parameters_and_what_is_wrong_with_each():
    sound = certify(*prepared(freeze_depth=9))
    assert sound.groups is not None
    head, *others = sound.groups
    first = head.parameters[0]
    assert sound.faults == []
    for groups, faults in (
        ((head, replace(head, name="again", parameters=(first,)), *others), [f"parameters are in two groups: {first}"]),
        ((replace(head, parameters=head.parameters[1:]), *others), [f"parameters train but are in no group: {first}"]),
        (
            (replace(head, parameters=(*head.parameters, "stem")), *others),
            ["parameters are frozen but in a group: stem"],
        ),
    ):
        certificate = replace(sound, groups=groups)
        assert (certificate.faults, certificate.passed) == (faults, False)
    moved = replace(sound, after="other", frozen_in_train_mode=("stem.0", "stem.1"))
    assert moved.faults == [
        "frozen units changed during phase 'finetune' (depth 9)",
        "frozen modules were in training mode: stem.0, stem.1",
    ]
    assert replace(sound, groups=None).passed
