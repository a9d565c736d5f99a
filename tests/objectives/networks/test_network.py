"""The network of a phase: what trains, in which mode, under which names, and what its hashes see."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from frostline.objectives.backbones import Backbone
from frostline.objectives.config import BackboneSpec, HeadConfig
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.networks.frozen_prefix import CANONICAL_BATCH, FrozenPrefix, state_hash
from frostline.objectives.networks.heads import FixedPooling, create_head
from frostline.objectives.networks.lora import add_lora
from frostline.objectives.networks.network import Network, last_outputs
from frostline.objectives.phases import Phase, norms_and_biases
from frostline.objectives.precision import BFLOAT16, EXACT, FLOAT32, Precision

UNITS = 7
POOL = BackbonePool(BackboneSpec("tiny_network:create", "none", 32))
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def fresh() -> Backbone:
    """A backbone of its own."""
    return copy.deepcopy(POOL).fresh(pretrained=True, seed=0)


def network(phase: Phase, head: HeadConfig | None = None, precision: Precision = EXACT) -> Network:
    backbone = fresh()
    torch.manual_seed(0)
    return Network(backbone, phase, create_head(head or HeadConfig(), backbone.units[-1].output_shape, 3), precision)


def finetuning(depth: int = 4, rates: tuple[float, ...] | None = None) -> Phase:
    return Phase("finetune", depth, 1, 0.1, (0.1,) * (UNITS - depth) if rates is None else rates)


HEAD_ALONE = Phase("head", UNITS, 1, 0.1)
MIXED = finetuning(4, (0.0, 0.2, 0.3))


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


def moved_norms(net: Network) -> list[bool]:
    return [norm.training for norm in norms(net.suffix)]


def test_a_unit_without_a_rate_trains_nothing_and_stays_in_evaluation_mode() -> None:
    net = network(MIXED)
    still, *others = net.suffix
    assert not any(value.requires_grad for value in still.parameters())
    assert all(value.requires_grad for unit in others for value in unit.parameters())
    for _ in range(2):
        net.train()
        assert not any(module.training for module in still.modules())
        assert all(module.training for unit in others for module in unit.modules())
        assert net.head.training
    net.eval()
    assert not any(module.training for module in (*net.suffix.modules(), *net.head.modules()))


def test_batch_norms_in_evaluation_mode_are_those_that_a_phase_asks_for() -> None:
    net = network(replace(MIXED, batch_norm="eval"))
    net.train()
    assert not any(moved_norms(net))
    assert [unit.training for unit in net.suffix] == [False, True, True]
    assert all(value.requires_grad for value in net.suffix[1].parameters())
    assert moved_norms(network(MIXED).train()) == [False, True, True]


def test_parameters_that_a_phase_does_not_select_stay() -> None:
    net = network(replace(finetuning(), selects=norms_and_biases, trains_only="norm"))
    names = {name for name, _ in net.trainable() if name.startswith("suffix.")}
    assert names
    assert all("norm" in name for name in names)
    assert {name for name, value in net.suffix.named_parameters(prefix="suffix") if value.requires_grad} == names


def test_adapters_train_in_place_of_the_weights_of_units_with_a_rate() -> None:
    phase = replace(MIXED, adapt=lambda unit: add_lora(unit, rank=1, alpha=1.0), trains_only="linear layer")
    names = [name for name, _ in network(phase).trainable() if name.startswith("suffix.")]
    assert names
    assert all(name.endswith((".up", ".down")) and not name.startswith("suffix.0.") for name in names)


def test_units_that_have_nothing_to_train_are_refused_unless_none_shall() -> None:
    phase = replace(finetuning(), selects=lambda module, name: False, trains_only="unicorn")
    with pytest.raises(InvalidInputError, match="nothing to train: these units have no unicorn"):
        network(phase)
    assert network(replace(phase, unit_learning_rates=(0.0,) * 3)).trainable()
    assert all(name.startswith("head.") for name, _ in network(HEAD_ALONE).trainable())


def test_what_training_changes_is_what_trains_and_the_statistics_of_norms_in_training_mode() -> None:
    net = network(MIXED)
    found = net.updated_tensors()
    moving = [
        value for unit in net.suffix[1:] for norm in norms(unit) for value in (norm.running_mean, norm.running_var)
    ]
    expected = [*(value for _, value in net.trainable()), *moving]
    assert [id(value) for value in found] == [id(value) for value in expected]
    still = network(replace(MIXED, batch_norm="eval"))
    assert [id(value) for value in still.updated_tensors()] == [id(value) for _, value in still.trainable()]


def test_a_name_of_the_suffix_tells_its_unit_and_rate() -> None:
    net = network(MIXED)
    assert [net.unit_rate(f"suffix.{place}.x.weight") for place in range(3)] == [(4, 0.0), (5, 0.2), (6, 0.3)]


def test_names_are_those_of_the_model() -> None:
    net = network(MIXED)
    model = fresh().model
    own = {net.model_name(name) for name, _ in net.named_parameters() if not name.startswith("head.")}
    assert own == {name for name, _ in model.named_parameters() if not name.startswith("fc.")}
    assert net.model_name("head.1.weight") == "head.1.weight"
    assert net.model_name("prefix.prefix.stem.0.weight") == "stem.0.weight"


def test_states_are_copies_of_what_they_name() -> None:
    net = network(MIXED)
    trained, backbone = net.trainable_state(), net.backbone_state()
    assert trained.keys() == {name for name in net.state_dict() if not name.startswith("prefix.")}
    model = fresh().model.state_dict()
    assert backbone.keys() == {name for name in model if not name.startswith("fc.")}
    assert all(torch.equal(value, model[name]) for name, value in backbone.items())
    with torch.no_grad():
        for value in net.parameters():
            value.add_(1.0)
    assert all(torch.equal(value, model[name]) for name, value in backbone.items())
    moved = net.state_dict()
    assert not any(torch.equal(trained[name], moved[name]) for name, _ in net.trainable())
    net.load_state(trained)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in trained.items())
    assert not any(value.requires_grad for value in (*trained.values(), *backbone.values()))


def test_frozen_units_are_the_prefix_and_the_units_without_a_rate() -> None:
    net = network(MIXED)
    assert net.frozen_units() == [net.prefix.prefix, net.suffix[0]]
    assert network(finetuning()).frozen_units()[1:] == []


@pytest.mark.parametrize(
    ("phase", "name", "seen"),
    [
        (MIXED, "prefix.prefix.stem.0.weight", True),
        (MIXED, "prefix.prefix.stem.1.running_mean", True),
        (MIXED, "suffix.0.{norm}.weight", True),
        (MIXED, "suffix.0.{norm}.running_var", True),
        (MIXED, "suffix.1.{norm}.weight", False),
        (MIXED, "suffix.1.{norm}.running_mean", False),
        (replace(MIXED, batch_norm="eval"), "suffix.1.{norm}.running_mean", True),
        (replace(MIXED, batch_norm="eval"), "suffix.1.{norm}.weight", False),
        (replace(MIXED, selects=norms_and_biases), "suffix.1.{conv}.weight", True),
        (replace(MIXED, selects=norms_and_biases), "suffix.1.{norm}.weight", False),
        (MIXED, "head.", False),
    ],
)
def test_the_hash_of_what_is_frozen_sees_exactly_that(phase: Phase, name: str, seen: bool) -> None:
    net = network(phase)
    before, now = net.frozen_hashes()
    assert before == now
    state = net.state_dict()
    # The parts of a unit have the names of the model's blocks.
    start, _, rest = name.partition("{")
    end = rest.replace("}", "")
    tensor = next(value for key, value in state.items() if key.startswith(start) and (not end or end in key))
    tensor.add_(1)
    before, now = net.frozen_hashes()
    assert (before != now) == seen


def test_the_same_state_has_the_same_hash_and_names_shapes_and_types_count() -> None:
    zeros = torch.zeros(2, 3)
    assert state_hash({"a": zeros, "b": zeros}) == state_hash({"b": zeros, "a": zeros})
    hashes = [
        state_hash(state)
        for state in (
            {"a": zeros},
            {"b": zeros},
            {"a": zeros.T},
            {"a": zeros.reshape(6)},
            {"a": zeros.int()},
            {"a": zeros, "b": zeros},
            {"a": zeros + 1},
            {},
        )
    ]
    assert len(set(hashes)) == len(hashes)


def test_logits_are_the_models_features_through_the_head() -> None:
    net = network(finetuning()).eval()
    backbone = fresh()
    with torch.no_grad():
        features = backbone.segment(0, UNITS).eval()(IMAGES)
        torch.testing.assert_close(net(IMAGES), net.head(features), rtol=1e-5, atol=1e-6)


def test_of_units_that_run_one_after_another_the_last_outputs_are_returned() -> None:
    units = [nn.Linear(2, 2), nn.Linear(2, 2)]
    features = torch.ones(1, 2)
    first = units[0](features)
    last = units[1](first)
    assert torch.equal(last_outputs(units, features, 1), last)  # pyright: ignore[reportArgumentType]
    for count, expected in ((2, [first, last]), (3, [features, first, last]), (4, [features, first, last])):
        found = last_outputs(units, features, count)
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax", "gem"])
def test_where_all_is_frozen_pooling_joins_the_prefix_and_logits_stay_the_same(pooling: str) -> None:
    net = network(HEAD_ALONE, HeadConfig(pooling=pooling)).eval()  # pyright: ignore[reportArgumentType]
    fixed = pooling != "gem"
    assert net.prefix(IMAGES).ndim == (2 if fixed else 4)
    assert len(net.pooled_head) < len(net.head) if fixed else len(net.pooled_head) == len(net.head)
    backbone = fresh()
    with torch.no_grad():
        expected = net.head(backbone.segment(0, UNITS).eval()(IMAGES))
        torch.testing.assert_close(net(IMAGES), expected, rtol=1e-5, atol=1e-6)
    # Where units train, the head pools.
    assert len(network(finetuning()).pooled_head) == len(network(finetuning()).head)


def test_heads_share_frozen_units_only_where_all_are_frozen() -> None:
    net = network(HEAD_ALONE)
    other = create_head(HeadConfig(pooling="max"), POOL.pretrained.units[-1].output_shape, 3)
    phase = replace(HEAD_ALONE, name="other")
    shared = net.with_head(other, phase)
    assert (shared.phase, shared.head, net.phase) == (phase, other, HEAD_ALONE)
    assert shared.prefix.prefix is net.prefix.prefix
    assert shared.frozen_hashes() == net.frozen_hashes()
    with torch.no_grad():
        features = fresh().segment(0, UNITS).eval()(IMAGES)
        torch.testing.assert_close(shared.eval()(IMAGES), other(features), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(net.eval()(IMAGES), net.head(features), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="all units are frozen"):
        network(finetuning()).with_head(other, finetuning())
    with pytest.raises(ValueError, match="all units are frozen"):
        net.with_head(other, finetuning())
    with pytest.raises(ValueError, match="all units are frozen"):
        net.with_head(other, replace(phase, freeze_depth=UNITS - 1))


def test_the_precision_of_units_can_change_and_heads_stay_exact() -> None:
    net = network(finetuning()).eval()
    with torch.no_grad():
        exact = net(IMAGES)
        net.compute_in(Precision(FLOAT32, BFLOAT16))
        assert net.prefix(IMAGES).dtype == torch.float32
        rounded = net(IMAGES)
        assert rounded.dtype == torch.float32
        assert not torch.equal(rounded, exact)
        torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02)
        net.compute_in(Precision(BFLOAT16, FLOAT32))
        assert net.prefix(IMAGES).dtype == torch.bfloat16
        assert net(IMAGES).dtype == torch.float32
        net.compute_in(EXACT)
        assert torch.equal(net(IMAGES), exact)


def prefix(depth: int, pooling: FixedPooling | None = None, precision: str = FLOAT32) -> FrozenPrefix:
    return FrozenPrefix(fresh().segment(0, depth), depth, pooling, precision)


def test_keys_tell_apart_what_features_depend_on() -> None:
    average = FixedPooling.average(POOL.pretrained.units[-1].output_shape)
    keys = [
        each.kept_key
        for each in (prefix(3), prefix(4), prefix(3, precision=BFLOAT16), prefix(UNITS), prefix(UNITS, average))
    ]
    assert len(set(keys)) == len(keys)
    assert prefix(3).kept_key == keys[0]
    assert prefix(3).key[: len(keys[0])] == keys[0]
    moved = fresh().segment(0, 3)
    next(moved.parameters()).data.add_(1)
    assert FrozenPrefix(moved, 3).kept_key != keys[0]


def test_a_prefix_without_depth_keeps_images_as_they_are() -> None:
    assert prefix(0).kept(IMAGES) is IMAGES


@pytest.mark.parametrize("count", [1, CANONICAL_BATCH, CANONICAL_BATCH + 1, 2 * CANONICAL_BATCH])
def test_every_run_of_a_prefix_has_the_canonical_size(count: int) -> None:
    frozen, sizes = prefix(2), list[torch.Size]()
    run = frozen._run

    def seen(images: torch.Tensor) -> torch.Tensor:
        sizes.append(images.shape)
        return run()(images)

    frozen._run = lambda: seen  # type: ignore[method-assign,assignment]
    images = torch.randn(count, 3, 32, 32)
    assert len(frozen(images)) == count
    assert sizes == [torch.Size((CANONICAL_BATCH, 3, 32, 32))] * (-(-count // CANONICAL_BATCH))


def test_a_prefix_that_was_written_to_computes_with_what_was_written() -> None:
    frozen = prefix(2)
    before = frozen(IMAGES)
    assert frozen._run() is frozen._run()
    with torch.no_grad():
        next(iter(frozen.prefix.parameters())).mul_(2)
    assert not torch.equal(frozen(IMAGES), before)
    frozen.precision = BFLOAT16
    assert frozen(IMAGES).dtype == torch.bfloat16


def test_a_prefix_has_no_gradients_and_never_trains() -> None:
    frozen = prefix(3)
    assert not any(value.requires_grad for value in frozen.parameters())
    next(iter(frozen.prefix.children())).train()
    frozen.train()
    assert not any(module.training for module in frozen.prefix.modules())
    assert frozen.training
    frozen.train(False)
    assert not frozen.training
    assert not frozen(IMAGES.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("phase", "itself"),
    [
        (MIXED, [False, True, True]),
        (replace(MIXED, batch_norm="eval"), [False, False, False]),
        (finetuning(4, (1.0, 1.0, 1.0)), [True, True, True]),
    ],
)
def test_units_whose_norms_keep_their_statistics_compute_with_folded_ones(phase: Phase, itself: list[bool]) -> None:
    net = network(phase)
    assert [used is unit for used, unit in zip(net._units, net.suffix, strict=True)] == itself
