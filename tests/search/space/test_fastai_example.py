"""The example of a plugin: fastai's phases, groups and rates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from frostline.objectives.backbones import create_backbone
from frostline.objectives.backbones.backbone import cut
from frostline.objectives.config import BackboneSpec, HeadConfig, create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks import Network, create_head
from frostline.objectives.phases import Phase
from frostline.objectives.strategies import STRATEGIES
from frostline.objectives.strategies.plans import plan_phases
from frostline.objectives.training.optimizers import parameter_groups
from frostline.search.space import plugins
from frostline.search.space.plugins import load_plugins

EXAMPLES = Path(__file__).parents[3] / "examples" / "plugins"
EXAMPLE = "fastai_fine_tune"


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin is registered; afterwards nothing of it is left."""
    strategies = STRATEGIES.snapshot()
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXAMPLES)])
    monkeypatch.setattr(plugins, "_registered", {})
    load_plugins([EXAMPLE])
    yield
    STRATEGIES.restore(strategies)
    del sys.modules[EXAMPLE]


def planned(**values: Any) -> tuple[Phase, ...]:
    return plan_phases(create_config({"strategy": EXAMPLE, "learning_rate": 2e-3, **values}), 9)


def test_the_examples_phases_are_those_of_fastai() -> None:
    """Read from ``vision_learner(dls, resnet18).fine_tune(3, base_lr=2e-3)`` of fastai 2.8.12, at the peak of each fit.

    It runs 1 + 3 epochs. Frozen, the groups have 20, 20 and all trainable tensors: scale and offset of each of the 20
    batch norms of the body, whose statistics move, at 2e-4, and the head at 2e-3. Unfrozen, they have 30, 30 and all,
    at 1e-5, 1e-4 and 1e-3. The second group starts at ``layer3``.
    """
    frozen, unfrozen = planned(epochs=4)
    assert (frozen.epochs, unfrozen.epochs) == (1, 3)
    backbone = create_backbone(BackboneSpec("resnet18", "none", 64))
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, 2)
    found = []
    for phase in (frozen, unfrozen):
        network = Network(backbone, phase, head)
        found.append([(group["peak"], len(group["params"])) for group in _merged(parameter_groups(network, 0.0))])
        network.train()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert len(norms) == 20
        assert all(norm.training and norm.weight.requires_grad for norm in norms)
    assert found[0] == [(pytest.approx(2e-4), 40), (pytest.approx(2e-3), 2)]
    assert found[1] == [(pytest.approx(1e-5), 30), (pytest.approx(1e-4), 30), (pytest.approx(1e-3), 2)]
    slow, fast = unfrozen.unit_learning_rates[4:6]
    assert (backbone.units[4].name, backbone.units[5].name) == ("layer2.1", "layer3.0")
    assert (slow, fast) == (pytest.approx(1e-5), pytest.approx(1e-4))


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups with and without weight decay as one of each rate, from the slowest."""
    rates = sorted({group["peak"] for group in groups})
    return [
        {"peak": rate, "params": [each for group in groups if group["peak"] == rate for each in group["params"]]}
        for rate in rates
    ]


def test_the_example_refuses_what_leaves_no_epoch_to_fine_tune() -> None:
    with pytest.raises(InvalidInputError, match="probe_epochs must be below"):
        planned(epochs=3, probe_epochs=3)


def test_the_example_refuses_a_network_without_norms() -> None:
    frozen, _ = planned(epochs=4)
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(9)), nn.Flatten())
    backbone = cut("plain", network.eval(), 8)
    phase = replace(frozen, unit_learning_rates=(2e-4,) * len(backbone.units))
    with pytest.raises(InvalidInputError, match="nothing to train: these units have no norm"):
        Network(backbone, phase, nn.Sequential())
