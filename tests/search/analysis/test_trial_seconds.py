"""Predicted seconds: the arithmetic of a trial's work, and corrections by trials of known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from frostline.objectives.config import TrialConfig, create_config, nest
from frostline.objectives.finetune import finetune
from frostline.objectives.networks import Network
from frostline.objectives.networks.attention import AttentionPool
from frostline.objectives.speed import SpeedProbe, UnitSpeed
from frostline.objectives.strategies.plans import PlannedTrial, plan_trial
from frostline.search.analysis.attention_work import attention_flops, attention_training_flops
from frostline.search.analysis.trial_memory import peak_memory
from frostline.search.analysis.trial_seconds import MeasuredTrial, SecondsModel

from ...objectives import tiny

# Seconds forward and forward-and-backward per image; outputs of the first unit are larger than images.
UNITS = (
    UnitSpeed(0.001, 0.004, 10, 100, output_bytes=2000, pooled_bytes=40, saved_bytes=3000),
    UnitSpeed(0.002, 0.005, 20, 200, output_bytes=500, pooled_bytes=80, saved_bytes=700),
    UnitSpeed(0.003, 0.010, 30, 300, output_bytes=400, pooled_bytes=100, saved_bytes=900),
)
PROBE = SpeedProbe(
    UNITS,
    images={"none": 1e-4, "flip_crop": 2e-4},
    step=0.01,
    per_parameter=1e-5,
    start=0.5,
    image_bytes=1000,
    base_bytes=10**6,
    device="cpu",
)
TRAIN, VAL = 320, 100
MODEL = SecondsModel(PROBE, TRAIN, VAL)


def planned(strategy: str, **values: object) -> PlannedTrial:
    return plan_trial(TrialConfig.model_validate({"strategy": strategy, "epochs": 4, "batch_size": 32, **values}), 3)


def test_a_full_trial_trains_every_unit_each_epoch() -> None:
    epoch = TRAIN * 0.019 + VAL * 0.006
    load = 1e-4 * (TRAIN + VAL)
    steps = 10 * (0.01 + 600e-5) + 0.01 * VAL / 128
    assert MODEL.seconds(planned("full")) == pytest.approx(0.5 + 4 * (epoch + load + steps))
    assert MODEL.seconds(planned("full"), epochs=1) == pytest.approx(0.5 + epoch + load + steps)


def test_features_of_frozen_units_are_computed_once() -> None:
    trial = planned("feature_extraction")
    steps = 4 * (10 * 0.01 + 0.01 * VAL / 128)
    first = 0.5 + (0.006 + 1e-4) * (TRAIN + VAL) + steps
    assert MODEL.seconds(trial) == pytest.approx(first)
    # A second trial finds them; so does one with other settings of the head.
    later = MODEL.after(trial)
    assert later.seconds(planned("feature_extraction", learning_rate=0.1)) == pytest.approx(0.5 + steps)
    # With views, one for each epoch; the validation images have one.
    views = planned("feature_extraction", augmentation="flip_crop", views=2)
    extracted = 0.006 * (2 * TRAIN + VAL) + 2e-4 * 2 * TRAIN + 1e-4 * VAL
    assert MODEL.seconds(views) == pytest.approx(0.5 + extracted + steps)
    # Without a limit of views, or with mixed images, each epoch computes them.
    for each in (
        planned("feature_extraction", augmentation="flip_crop"),
        planned("feature_extraction", augmentation="flip_crop", views=2, mixing="mixup"),
    ):
        computed = 0.006 * (4 * TRAIN + VAL) + 2e-4 * 4 * TRAIN + 1e-4 * VAL
        assert MODEL.seconds(each) == pytest.approx(0.5 + computed + steps)


def test_features_larger_than_their_images_are_computed_each_epoch() -> None:
    large, small = (MODEL.after(planned("partial", freeze_depth=depth)) for depth in (1, 2))
    assert large.kept == frozenset()
    assert len(small.kept) == 2
    again = small.seconds(planned("partial", freeze_depth=2))
    assert MODEL.seconds(planned("partial", freeze_depth=2)) - again == pytest.approx(0.0031 * (TRAIN + VAL))
    without = SecondsModel(PROBE, TRAIN, VAL, caches=False)
    assert without.after(planned("feature_extraction")).kept == frozenset()


def test_what_the_head_sees_decides_what_is_kept() -> None:
    sizes = {
        100: {},
        400: {"head.pooling": "attention"},  # the map itself
        180: {"head.depths": 2},
    }
    for size, head in sizes.items():
        config = TrialConfig.model_validate({"strategy": "feature_extraction", **nest(head)})
        assert MODEL.kept_bytes(config, 3) == size
        found = MODEL.after(planned("feature_extraction")).seconds(planned("feature_extraction", **nest(head)))
        assert (found < MODEL.seconds(planned("feature_extraction", **nest(head)))) == (size == 100)


@pytest.mark.parametrize("batch_size", [4, 8])
def test_auto_rgn_makes_gradients_of_some_batches_before_the_steps_of_an_epoch(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that pass forward and backward in two epochs, counted in a training."""
    trained: list[int] = []
    classify = Network.classify

    def counted(network: Network, features: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            trained.append(len(features))
        return classify(network, features)

    monkeypatch.setattr(Network, "classify", counted)
    images, network = tiny.task(train=30, val=15), SecondsModel(SECOND, 30, 15)
    for strategy in ("full", "auto_rgn"):
        trained.clear()
        config = create_config({"strategy": strategy, "epochs": 2, "batch_size": batch_size})
        finetune(config, images, seed=0)
        foreseen = network.seconds(plan_trial(config, 1))
        # Batches of an epoch have nearly equal sizes.
        assert foreseen == pytest.approx(sum(trained), abs=2 * 5)
        assert (sum(trained) > 60) is (strategy == "auto_rgn")


# A pass forward and backward of one image takes a second, and nothing else takes any.
SECOND = SpeedProbe((UnitSpeed(0.0, 1.0, 1, 1, 10, 10, 10),), {"none": 0.0}, 0.0, 0.0, 0.0, 10, 0, "cpu")


@pytest.mark.parametrize("queries", [1, 3, 8])
@pytest.mark.parametrize("shape", [(12, 5, 5), (5, 4, 12), (7, 12), (1, 12)])
def test_operations_of_an_attention_head_are_those_that_torch_counts(shape: tuple[int, ...], queries: int) -> None:
    pool, places, images = AttentionPool(shape, queries), int(np.prod(shape)) // 12, 3
    for into_features in (False, True):
        features = torch.randn(images, *shape, requires_grad=into_features)
        with FlopCounterMode(display=False) as forward:
            pooled = pool(features)
        with FlopCounterMode(display=False) as backward:
            pooled.sum().backward()
        assert attention_flops(places, 12, queries) * images == forward.get_total_flops()
        told = attention_training_flops(places, 12, queries, into_features=into_features)
        assert told * images == forward.get_total_flops() + backward.get_total_flops()


def test_an_attention_head_reads_all_places_in_each_epoch() -> None:
    """At the rate of the backbone: 0.006 s for 60 operations."""
    known = tuple(replace(unit, places=4, channels=8) for unit in UNITS)
    attends = {"head": {"pooling": "attention", "queries": 2}}
    for strategy, into_features in (("feature_extraction", False), ("full", True)):
        trial = planned(strategy, **attends)
        found = SecondsModel(replace(PROBE, units=known), TRAIN, VAL).seconds(trial)
        flops = TRAIN * attention_training_flops(4, 8, 2, into_features=into_features) + VAL * attention_flops(4, 8, 2)
        # A probe of an older version did not keep the places.
        assert found - MODEL.seconds(trial) == pytest.approx(4 * flops * 0.006 / 60)
    # The last unit makes a vector of the tokens of the one before.
    vector = replace(known[-1], output_bytes=100, pooled_bytes=100, places=1, channels=25)
    model = SecondsModel(replace(PROBE, units=(*known[:-1], vector)), TRAIN, VAL)
    assert model.seconds(planned("full", **attends)) == pytest.approx(
        SecondsModel(replace(PROBE, units=known), TRAIN, VAL).seconds(planned("full", **attends))
    )


def random_trials(rng: np.random.Generator, count: int) -> list[PlannedTrial]:
    every = [
        planned("feature_extraction", epochs=30),
        planned("partial", freeze_depth=2),
        planned("partial", freeze_depth=1),
        planned("full"),
        planned("lp_ft", probe_epochs=2),
    ]
    return [every[number] for number in rng.integers(0, len(every), count)]


@pytest.mark.parametrize("seed", range(5))
def test_ten_trials_correct_a_probe_that_is_wrong_in_every_part(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = SecondsModel(PROBE, TRAIN, VAL, factors=np.array([2.0, 0.5, 3.0, 1.5, 4.0]))
    trials = random_trials(rng, 30)
    measured, model = [], truth
    for trial in trials:
        noise = float(np.exp(rng.normal(0, 0.1)))
        measured.append(MeasuredTrial(trial, trial.epochs, model.seconds(trial) * noise))
        model = model.after(trial)
    errors = {}
    for known in (0, 10):
        fitted = MODEL.fit(measured[:known])
        late = measured[10:]
        errors[known] = np.median([abs(fitted.seconds(each.planned) / each.seconds - 1) for each in late])
    assert errors[0] > 0.4
    assert errors[10] < 0.2


def test_one_trial_corrects_all_predictions_alike() -> None:
    trial = planned("full")
    fitted = MODEL.fit([MeasuredTrial(trial, 4, 3 * MODEL.seconds(trial))])
    assert fitted.seconds(planned("full")) == pytest.approx(3 * MODEL.seconds(trial), rel=0.01)
    other = planned("partial", freeze_depth=1)
    assert fitted.seconds(other) == pytest.approx(3 * MODEL.seconds(other), rel=0.05)


def test_trials_that_stop_early_shorten_the_predictions_of_their_strategy_most() -> None:
    short, whole = planned("full"), planned("partial", freeze_depth=1)
    trials = [MeasuredTrial(short, 2, MODEL.seconds(short, 2)) for _ in range(9)]
    trials += [MeasuredTrial(whole, 4, MODEL.seconds(whole, 4)) for _ in range(9)]
    fitted = MODEL.fit(trials)
    assert fitted.shares["full", True] == pytest.approx(0.5, abs=0.05)
    assert fitted.shares["partial", True] == pytest.approx(1.0, abs=0.05)
    assert 0.5 < fitted.shares[None, True] < 1.0
    assert fitted.seconds(short) == pytest.approx(MODEL.seconds(short, 2), rel=0.1)


def test_what_pruning_saves_is_not_expected_of_trials_that_nothing_prunes() -> None:
    pruned, fresh = planned("full"), planned("partial", freeze_depth=1)
    trials = [MeasuredTrial(pruned, epochs, MODEL.seconds(pruned, epochs)) for epochs in (4, 4, *[1] * 8)]
    fitted = MODEL.fit(trials)
    assert fitted.seconds(pruned) == pytest.approx(MODEL.seconds(pruned, 1), rel=0.1)
    # No trial of it has ended: the pruner has nothing to compare its first one with.
    assert fitted.seconds(fresh) == pytest.approx(MODEL.seconds(fresh), rel=0.1)
    again = MODEL.fit([*trials, *(MeasuredTrial(fresh, 4, MODEL.seconds(fresh)) for _ in range(2))])
    assert again.seconds(fresh) < 0.6 * MODEL.seconds(fresh)


def test_trials_without_seconds_correct_nothing() -> None:
    trial = planned("full")
    assert MODEL.fit([MeasuredTrial(trial, 4, 0.0)]).seconds(trial) == MODEL.seconds(trial)
    assert MODEL.fit([]).seconds(trial) == MODEL.seconds(trial)


def test_memory_is_of_weights_activations_and_features() -> None:
    full = peak_memory(planned("full", batch_size=64), MODEL, parameters=700, trained=700)
    weights = 4 * (2 * 700 + 4 * 700)
    assert full == 10**6 + weights + 64 * (3000 + 700 + 900 + 1000)
    large = peak_memory(planned("full", batch_size=128), MODEL, parameters=700, trained=700)
    assert large - full == 64 * (3000 + 700 + 900 + 1000)
    heads = peak_memory(planned("feature_extraction"), MODEL, parameters=700, trained=100)
    # Of the frozen units, 32 images at once.
    assert heads == 10**6 + 4 * (2 * 700 + 4 * 100) + 100 * (TRAIN + VAL) + 2 * 32 * (2000 + 1000)
    plain = peak_memory(planned("full", optimizer="sgd", batch_size=64), MODEL, parameters=700, trained=700)
    assert full - plain == 4 * 700


def test_a_trial_over_folds_trains_on_each_and_computes_features_once() -> None:
    folds = 4
    over = SecondsModel(PROBE, TRAIN, VAL, folds)
    # What is not cached is paid for each fold.
    assert over.seconds(planned("full")) == pytest.approx(folds * MODEL.seconds(planned("full")))
    trial = planned("feature_extraction")
    steps = 4 * (10 * 0.01 + 0.01 * VAL / 128)
    # Each image once, for it validates as it trains; and nothing of it in later trials.
    first = folds * (0.5 + steps) + (0.006 + 1e-4) * (TRAIN + VAL)
    assert over.seconds(trial) == pytest.approx(first)
    assert over.after(trial).seconds(trial) == pytest.approx(folds * (0.5 + steps))
    # Two views of all images, which all train in some fold, and how they validate.
    views = planned("feature_extraction", augmentation="flip_crop", views=2)
    extracted = (3 * 0.006 + 2 * 2e-4 + 1e-4) * (TRAIN + VAL)
    assert over.seconds(views) == pytest.approx(folds * (0.5 + steps) + extracted)


def test_folds_that_pruning_saved_are_known_as_epochs_are() -> None:
    over = SecondsModel(PROBE, TRAIN, VAL, 4)
    whole, half = (over.seconds(planned("full"), epochs=epochs) for epochs in (4, 2))
    fitted = over.fit([MeasuredTrial(planned("full"), 4, whole)] * 2 + [MeasuredTrial(planned("full"), 2, half)] * 40)
    assert fitted.seconds(planned("full")) == pytest.approx(half, rel=0.1)
