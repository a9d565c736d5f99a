"""The strategies beyond the first five: definitions, and the identities in which they are one another."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frostline.objectives.backbones.backbone import cut
from frostline.objectives.config import create_config
from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.finetune import FinetuneResult, finetune
from frostline.objectives.networks import Network
from frostline.objectives.networks.lora import LowRank, add_lora, remove_adapters
from frostline.objectives.strategies import STRATEGIES, Strategy, finetuning_phase, register_strategy
from frostline.objectives.strategies.plans import plan_phases

from ..tiny import own_task, pool, task
from .test_strategies import UNITS, config, is_statistic, moved, train


def assert_same(first: FinetuneResult, second: FinetuneResult) -> None:
    for ours, theirs in zip(first.epochs, second.epochs, strict=True):
        assert (ours.train_loss, ours.val_loss, ours.score) == (theirs.train_loss, theirs.val_loss, theirs.score)
    own, other = first.network.backbone_state(), second.network.backbone_state()
    assert all(torch.equal(own[name], other[name]) for name in own)


def run(strategy: str, **values: object) -> FinetuneResult:
    return finetune(config(strategy, **values), own_task(), seed=0)


# Identities -----------------------------------------------------------------------------------------------------------


def test_layer_decay_1_is_full():
    assert_same(run("discriminative", layer_decay=1.0), run("full"))


def test_a_freeze_depth_of_all_units_is_feature_extraction():
    """`partial` refuses that depth, for it has a name of its own; a plan may ask for it."""
    plan = Strategy("all_frozen", "", lambda config, units: (finetuning_phase(config, units, units),))
    register_strategy(plan)
    assert_same(run("all_frozen"), run("feature_extraction"))


def test_surgical_to_the_end_is_partial():
    assert_same(run("surgical", freeze_depth=5, trained_units=13), run("partial", freeze_depth=5))


def test_l2_sp_without_pull_is_full_without_weight_decay():
    assert_same(run("l2_sp", l2_sp_alpha=0.0, l2_sp_beta=0.0), run("full"))


def test_gradual_unfreezing_with_one_phase_is_feature_extraction():
    gradual = run("gradual_unfreezing", unfreeze_every=9)
    probe = run("feature_extraction")
    assert [epoch.val_loss for epoch in gradual.epochs] == [epoch.val_loss for epoch in probe.epochs]


# What moves -----------------------------------------------------------------------------------------------------------


def test_surgical_moves_its_range_alone():
    before, after, result = train(config("surgical", freeze_depth=4, trained_units=3))
    changes = list(moved(before, after).values())
    names = list(pool().pretrained.unit_tensors().values())
    assert not any(changes[:4])
    assert not any(changes[7:]), "units after the range are frozen, statistics included"
    assert [set(group) for group in names[4:7]] == changes[4:7]
    assert result.certificates[0].passed


def test_norm_bias_moves_norms_and_biases_and_no_statistic():
    before, after, result = train(config("norm_bias"))
    changed = set().union(*moved(before, after).values())
    modules = dict(pool().pretrained.model.named_modules())
    expected = {
        f"{name}.{kind}"
        for name, module in modules.items()
        for kind, parameter in module.named_parameters(recurse=False)
        if (isinstance(module, nn.BatchNorm2d) or kind == "bias") and not name.startswith("fc")
    }
    assert changed == expected
    assert not any(is_statistic(name) for name in changed)
    assert result.certificates[0].frozen_parameters > 0


def test_lora_moves_its_additions_alone():
    before, after, result = train(config("lora", lora_rank=2))
    plain = {name.replace("parametrizations.weight.original", "weight"): value for name, value in after.items()}
    kept = before.keys() & plain.keys()
    assert len(kept) > 100
    assert all(torch.equal(before[name], plain[name]) for name in kept), "weights and statistics stay"
    ups = [value for name, value in after.items() if name.endswith(".up")]
    assert ups
    assert any(value.abs().sum() > 0 for value in ups)
    trainable = {name for name, _ in result.network.trainable()}
    assert all(name.startswith("head.") or name.endswith((".up", ".down")) for name in trainable)


def _top(before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in before.items() if name.startswith("fc")}


def test_a_trial_after_lora_starts_from_the_plain_network():
    undisturbed, shared = run("full"), own_task()
    finetune(config("lora"), shared, seed=0)
    assert_same(undisturbed, finetune(config("full"), shared, seed=0))


@pytest.mark.parametrize("layer", ["linear", "convolution", "attention"])
def test_lora_at_step_0_changes_nothing_and_merging_changes_no_output(layer: str):
    torch.manual_seed(0)
    module: nn.Module = {
        "linear": lambda: nn.Sequential(nn.Linear(6, 5)),
        "convolution": lambda: nn.Sequential(nn.Conv2d(6, 5, 1), nn.Conv2d(5, 5, 3), nn.Conv2d(5, 5, 1, groups=5)),
        "attention": lambda: nn.ModuleList([nn.MultiheadAttention(6, 2, batch_first=True)]),
    }[layer]()
    inputs = torch.randn(4, 6, 3, 3) if layer == "convolution" else torch.randn(4, 3, 6)

    def output() -> torch.Tensor:
        with torch.no_grad():
            if layer == "attention":
                return module[0](inputs, inputs, inputs, need_weights=False)[0]  # type: ignore[index]
            return module(inputs)

    plain = output()
    add_lora(module, rank=2, alpha=4.0)
    additions = [part for part in module.modules() if isinstance(part, LowRank)]
    assert len(additions) == {"linear": 1, "convolution": 1, "attention": 2}[layer]
    assert torch.equal(output(), plain)
    for addition in additions:
        nn.init.normal_(addition.up)
    adapted = output()
    assert not torch.allclose(adapted, plain, atol=1e-3)
    remove_adapters(module, merge=True)
    torch.testing.assert_close(output(), adapted, rtol=0, atol=1e-4)


class Encoded(nn.Module):
    """Patches, torch's own encoder layers, whose quick path in evaluation reads the weights by itself, and a mean."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(dim=1)


@pytest.mark.parametrize("norm_first", [True, False])
def test_lora_on_torchs_encoder_layers_is_the_same_in_training_and_evaluation(norm_first: bool):
    """Those of peft 0.21.2 are passed over in evaluation."""
    torch.manual_seed(0)
    model, images = Encoded(norm_first).eval(), torch.randn(4, 3, 32, 32)
    plain = model(images).detach()
    backbone = cut("encoded", model, 32)
    (phase,) = plan_phases(config("lora", lora_rank=2), len(backbone.units))
    network = Network(backbone, phase, nn.Sequential(nn.Flatten()))
    for part in network.modules():
        if isinstance(part, LowRank):
            nn.init.normal_(part.up)

    def output(*, training: bool, gradients: bool) -> torch.Tensor:
        with torch.set_grad_enabled(gradients):
            return network.train(training)(images).detach()

    expected = output(training=True, gradients=True)
    assert not torch.allclose(expected, plain, atol=1e-2)
    for training, gradients in [(True, False), (False, True), (False, False)]:
        torch.testing.assert_close(output(training=training, gradients=gradients), expected, rtol=1e-5, atol=1e-5)
    remove_adapters(network, merge=True)
    torch.testing.assert_close(output(training=False, gradients=False), expected, rtol=0, atol=1e-4)


def test_the_packed_attention_projection_gets_three_additions():
    attention = nn.MultiheadAttention(8, 2)
    add_lora(nn.ModuleList([attention]), rank=3, alpha=3.0)
    addition = next(part for part in attention.modules() if isinstance(part, LowRank) and len(part.up) == 3)
    assert addition.up.shape == (3, 8, 3)
    nn.init.normal_(addition.up)
    query, key, value = (attention.in_proj_weight - attention.parametrizations["in_proj_weight"].original).chunk(3)  # type: ignore[union-attr]
    assert torch.linalg.matrix_rank(torch.stack([query, key, value])).tolist() == [3, 3, 3]


def test_l2_sp_pulls_towards_the_pretrained_weights():
    def distance(alpha: float) -> float:
        before, after, _ = train(
            config("l2_sp", l2_sp_alpha=alpha, l2_sp_beta=0.0, optimizer="sgd", epochs=4, learning_rate=1e-2)
        )
        names = [name for name in after if before[name].ndim == 4]
        return float(sum((after[name] - before[name]).square().sum() for name in names))

    assert distance(200.0) < 0.5 * distance(0.0)


def test_l2_sp_is_the_formula_of_the_paper():
    from frostline.objectives.config import HeadConfig
    from frostline.objectives.networks.heads import create_head
    from frostline.objectives.networks.network import Network
    from frostline.objectives.training.penalties import l2_sp

    backbone = pool().fresh(pretrained=True, seed=0)
    phase = plan_phases(config("l2_sp", freeze_depth=15), UNITS)[0]
    network = Network(backbone, phase, create_head(HeadConfig(), backbone.units[-1].output_shape, 3))
    penalty = l2_sp(network, alpha=0.3, beta=0.7)
    with torch.no_grad():
        for _, parameter in network.trainable():
            parameter.add_(0.01)
    parameters = dict(network.trainable())
    count = sum(value.numel() for name, value in parameters.items() if not name.startswith("head."))
    head = sum(float(value.detach().square().sum()) for name, value in parameters.items() if name.startswith("head."))
    assert float(penalty().detach()) == pytest.approx(0.15 * count * 0.01**2 + 0.35 * head, rel=1e-3)


# Rates and phases -----------------------------------------------------------------------------------------------------


def test_discriminative_rates_fall_towards_the_input():
    phase = plan_phases(config("discriminative", layer_decay=0.5, backbone_lr_ratio=1.0, learning_rate=0.1), 4)[0]
    assert phase.unit_learning_rates == pytest.approx([0.1 / 16, 0.1 / 8, 0.1 / 4, 0.1 / 2])


def test_gradual_unfreezing_frees_a_unit_at_a_time_from_the_end():
    phases = plan_phases(config("gradual_unfreezing", epochs=7, unfreeze_every=2, freeze_depth=1), 5)
    assert [phase.freeze_depth for phase in phases] == [5, 4, 3, 2]
    assert [phase.epochs for phase in phases] == [2, 2, 2, 1]
    assert [phase.continues for phase in phases] == [False, True, True, True]
    deep = plan_phases(config("gradual_unfreezing", epochs=9, freeze_depth=3), 5)
    assert [(phase.freeze_depth, phase.epochs) for phase in deep] == [(5, 1), (4, 1), (3, 7)]


def test_gradual_unfreezing_moves_units_when_their_turn_comes_under_one_schedule():
    states: list[dict[str, torch.Tensor]] = []
    rates: list[float] = []

    def on_epoch(result: EpochResult) -> None:
        state = pool().pretrained.model.state_dict()
        states.append({name: value.clone() for name, value in state.items()})
        rates.append(result.learning_rates["head"])

    before = {name: value.clone() for name, value in pool().fresh(pretrained=True, seed=0).model.state_dict().items()}
    finetune(config("gradual_unfreezing", epochs=4, schedule="linear"), task(), seed=0, on_epoch=on_epoch)
    for stage, state in enumerate(states):
        changes = [bool(names) for names in moved(before, state).values()]
        assert changes == [False] * (UNITS - stage) + [True] * stage
    assert rates == pytest.approx([0.0075, 0.005, 0.0025, 0.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": "surgical", "freeze_depth": 18}, "between 0 and 17"),
        ({"strategy": "linear_probe_exact", "learning_rate": 0.1}, "takes no learning_rate"),
        ({"strategy": "linear_probe_exact", "head.hidden_layers": 1}, r"takes no head\.hidden_layers"),
        ({"strategy": "linear_probe_exact", "mixing": "mixup"}, "takes no mixing"),
        ({"strategy": "linear_probe_exact", "mixing_alpha": 1.0}, "takes no mixing_alpha"),
        ({"strategy": "linear_probe_exact", "randaugment_ops": 1}, "takes no randaugment_ops"),
        ({"strategy": "norm_bias", "batch_norm": "train"}, "takes no batch_norm"),
        ({"strategy": "full", "layer_decay": 0.5}, "takes no layer_decay"),
    ],
)
def test_misfits_are_refused(values: dict[str, object], message: str):
    with pytest.raises(InvalidInputError, match=message):
        plan_phases(create_config(values), UNITS)


def test_lora_needs_a_layer_to_adapt():
    from dataclasses import replace

    from frostline.objectives.config import BackboneSpec
    from frostline.objectives.networks.backbone_pool import BackbonePool

    alexnet = replace(task(), backbones=BackbonePool(BackboneSpec("alexnet", "none", 64)))
    with pytest.raises(InvalidInputError, match="no linear layer and no 1x1 convolution"):
        finetune(config("lora"), alexnet, seed=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains_and_is_the_same_twice(strategy: str):
    values = {"partial": {"freeze_depth": 9}, "surgical": {"freeze_depth": 2, "trained_units": 3}}.get(strategy, {})
    exact = strategy == "linear_probe_exact"
    configuration = create_config({"strategy": strategy}) if exact else config(strategy, **values)
    first, second = (finetune(configuration, task(), seed=0) for _ in range(2))
    assert [epoch.val_loss for epoch in first.epochs] == [epoch.val_loss for epoch in second.epochs]
    assert all(check.passed for check in first.certificates)


def test_merged_adapters_leave_weights_in_their_layout() -> None:
    """By its layout a convolution is computed: another one gives other last digits in the trainings after it."""
    conv = nn.Conv2d(8, 4, 1).to(memory_format=torch.channels_last)
    strides, before = conv.weight.stride(), conv.weight
    add_lora(nn.Sequential(conv), rank=2, alpha=4.0)
    with torch.no_grad():
        conv.parametrizations.weight[0].up.normal_()  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue, reportCallIssue]
    expected = conv.weight.detach().clone()
    remove_adapters(nn.Sequential(conv), merge=True)
    assert conv.weight.stride() == strides
    assert torch.equal(conv.weight, expected)
    assert conv.weight.data_ptr() == before.data_ptr()
