"""Solved heads: scikit-learn's solution, in the linear layer of a network whose units are frozen."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from frostline.objectives.config import create_config
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.features import FeatureSource
from frostline.objectives.finetune import FinetuneResult, Task, finetune, phase_data
from frostline.objectives.logistic_regression import INVERSE_STRENGTHS, choose_strength, standardization
from frostline.objectives.training.solved_heads import pooled_features

from ..tiny import own_task, task


def sources(result: FinetuneResult, work: Task) -> tuple[FeatureSource, FeatureSource]:
    data = phase_data(result.network, create_config({"strategy": "linear_probe_exact"}), work, 0)
    return data.train, data.val


def solve(work: Task, seed: int = 0) -> FinetuneResult:
    return finetune(create_config({"strategy": "linear_probe_exact"}), work, seed=seed)


def test_the_solution_is_scikit_learns_with_the_chosen_strength_and_validation_images_choose_nothing():
    work = task(train=60, val=30)
    result = solve(work)
    train, val = (pooled_features(result.network, source).numpy() for source in sources(result, work))
    mean, deviation = (each.numpy() for each in standardization(torch.tensor(train)))
    standard = (train - mean) / deviation
    labels = torch.tensor(work.train.labels)
    strength = INVERSE_STRENGTHS[choose_strength(torch.tensor(standard), labels, int(labels.max()) + 1)]
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(standard, work.train.labels)
    probabilities = model.predict_proba((val - mean) / deviation)
    assert result.score == accuracy_score(work.val.labels, probabilities.argmax(axis=1))
    assert result.epochs[0].val_loss == pytest.approx(log_loss(work.val.labels, probabilities), abs=1e-3)
    train_loss = log_loss(work.train.labels, model.predict_proba(standard))
    assert result.epochs[0].train_loss == pytest.approx(train_loss, abs=1e-3)


def test_the_solution_is_folded_into_the_linear_layer_and_no_unit_moves():
    work = own_task(train=60)
    before = {name: value.clone() for name, value in work.backbones.pretrained.model.state_dict().items()}
    result = solve(work)
    assert len(result.epochs) == 1
    after = result.network.backbone_state()
    assert after
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    train, _ = (pooled_features(result.network, source) for source in sources(result, work))
    output = result.network.head[-1]
    folded = train.float() @ output.weight.T + output.bias  # type: ignore[operator]
    losses = torch.nn.functional.cross_entropy(folded, torch.tensor(work.train.labels))
    assert losses.item() == pytest.approx(result.epochs[0].train_loss, abs=1e-5)


def test_features_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch):
    computed = FeatureSource.batch
    monkeypatch.setattr(FeatureSource, "batch", lambda *arguments: computed(*arguments) / 0)
    with pytest.raises(TrainingFailedError, match="not finite: check the backbone's weights"):
        solve(task())
