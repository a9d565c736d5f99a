"""Probes after each unit: features against hooks in the network, probes against scikit-learn and the strategy."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from frostline.objectives.config import create_config
from frostline.objectives.cut_probes import CutProbe, EveryDepth, probe_cuts, truncated
from frostline.objectives.data.image_split import subset_of
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.features import FeatureStore
from frostline.objectives.finetune import finetune
from frostline.objectives.logistic_regression import INVERSE_STRENGTHS, choose_strength, solve_probe, standardization
from frostline.objectives.networks import BackbonePool

from .tiny import SPEC, split, task

CPU = torch.device("cpu")
SPLITS = split(60, 0), split(30, 1), split(45, 2)
UNITS = 7


@functools.cache
def _untouched() -> BackbonePool:
    return BackbonePool(replace(SPEC, name="tiny_network:create"))


def fresh_pool() -> BackbonePool:
    """Of a network of few units: every probe takes as long."""
    return copy.deepcopy(_untouched())


@pytest.fixture(scope="module")
def store() -> FeatureStore:
    return FeatureStore(2**30)


@pytest.fixture(scope="module")
def probes(store: FeatureStore) -> list[CutProbe]:
    return probe_cuts([SPLITS[:2]], SPLITS[2], fresh_pool(), CPU, store)


def hooked_features(position: int) -> list[np.ndarray]:
    """Averages over the maps after a unit, by a hook in the whole model."""
    model = fresh_pool().pretrained.model.eval()
    found: list[np.ndarray] = []
    unit = model.get_submodule(fresh_pool().pretrained.units[position].name)
    # The first unit is the stem's convolution; what belongs to it follows.
    unit = model.get_submodule("stem") if position == 0 else unit
    unit.register_forward_hook(lambda _module, _given, output: found.append(output.mean(dim=(2, 3)).numpy()))
    for images in SPLITS:
        pixels = images.images(slice(None)).float() / 255
        with torch.no_grad():
            model((pixels[:, :, 2:34, 2:34] - 0.5) / 0.25)
    return found


def test_every_cut_is_probed_with_its_own_features(probes: list[CutProbe]) -> None:
    backbone = fresh_pool().pretrained
    assert [probe.unit for probe in probes] == [unit.name for unit in backbone.units]
    assert len(probes) == UNITS
    every = EveryDepth(backbone).eval()
    pixels = SPLITS[2].images(slice(None)).float() / 255
    with torch.no_grad():
        columns = every((pixels[:, :, 2:34, 2:34] - 0.5) / 0.25).split(every.widths, dim=1)
    for position in (0, 1, 3, UNITS - 1):
        np.testing.assert_allclose(columns[position], hooked_features(position)[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", [0, 3, UNITS - 1])
def test_a_probe_is_scikit_learns_with_the_strength_chosen_on_training_images(
    probes: list[CutProbe], position: int
) -> None:
    train, val, test = hooked_features(position)
    labels = SPLITS[0].labels
    mean, deviation = (each.numpy() for each in standardization(torch.tensor(train).double()))
    standard = (train - mean) / deviation
    chosen = choose_strength(torch.tensor(standard), torch.tensor(labels), 3)
    fit = LogisticRegression(C=INVERSE_STRENGTHS[chosen], tol=1e-8, max_iter=20_000).fit(standard, labels)
    for images, probabilities in (
        (val, probes[position].val_probabilities),
        (test, probes[position].test_probabilities),
    ):
        np.testing.assert_allclose(fit.predict_proba((images - mean) / deviation), probabilities, atol=0.02)


def test_with_folds_each_image_is_predicted_by_a_probe_that_never_saw_it(store: FeatureStore) -> None:
    """Against probes on the features of hooks, fitted by hand to all but each fold."""
    whole, folds = SPLITS[0], np.array_split(np.random.default_rng(0).permutation(60), 3)
    parts = [[np.sort(np.setdiff1d(np.arange(60), fold)), np.sort(fold)] for fold in folds]
    pairs = [(subset_of(whole, train, "all but it"), subset_of(whole, val, "it")) for train, val in parts]
    probes = probe_cuts(pairs, SPLITS[2], fresh_pool(), CPU, store)
    for position in (0, UNITS - 1):
        every, _, test = map(torch.from_numpy, hooked_features(position))
        expected, tested = [], []
        for train, val in parts:
            weight, bias = solve_probe(every[train].double(), torch.from_numpy(whole.labels[train]), 3)
            expected.append((every[val].double() @ weight.T + bias).softmax(dim=1))
            tested.append((test.double() @ weight.T + bias).softmax(dim=1))
        np.testing.assert_allclose(probes[position].val_probabilities, torch.cat(expected), atol=1e-3)
        np.testing.assert_allclose(probes[position].test_probabilities, tested[0], atol=1e-3)


def test_the_last_probe_is_the_strategy_that_solves_the_head(probes: list[CutProbe]) -> None:
    own = replace(task(train=60, val=30), backbones=fresh_pool())
    result = finetune(create_config({"strategy": "linear_probe_exact"}), own, seed=0)
    np.testing.assert_allclose(probes[-1].val_probabilities, result.val_probabilities, atol=1e-4)


def test_costs_are_those_of_the_network_up_to_the_cut(probes: list[CutProbe]) -> None:
    backbone, classes = fresh_pool().pretrained, 3
    sizes = [probe.size for probe in probes]
    assert sizes == sorted(sizes)
    for depth, probe in enumerate(probes, 1):
        units, width = backbone.units[:depth], backbone.units[depth - 1].output_shape[0]
        assert probe.parameters == sum(unit.parameters for unit in units) + (width + 1) * classes
        assert probe.size >= 4 * probe.parameters
        assert probe.latency > 0 < probe.batch_latency
    head = torch.nn.Linear(24, classes)
    assert truncated(backbone, UNITS, head)(torch.zeros(2, 3, 32, 32)).shape == (2, classes)


def test_features_of_all_cuts_are_computed_once_and_kept(probes: list[CutProbe], store: FeatureStore) -> None:
    computed = store.computed
    again = probe_cuts([SPLITS[:2]], SPLITS[2], fresh_pool(), CPU, store)
    assert store.computed == computed
    for one, other in zip(probes, again, strict=True):
        np.testing.assert_array_equal(one.test_probabilities, other.test_probabilities)


def test_what_is_not_finite_is_refused() -> None:
    pool = fresh_pool()
    next(iter(pool.pretrained.model.parameters())).data.fill_(float("nan"))
    pool._pristine = {name: value.clone() for name, value in pool.pretrained.model.state_dict().items()}
    with pytest.raises(TrainingFailedError, match="not finite"):
        probe_cuts([SPLITS[:2]], SPLITS[2], pool, CPU, FeatureStore(0))
