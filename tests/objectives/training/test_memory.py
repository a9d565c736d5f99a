"""Too little memory: batches in two pieces whose gradients add up to the batch's, once, and said in the epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frostline.objectives.config import create_config
from frostline.objectives.devices import is_out_of_memory, within_memory
from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.features.feature_source import FeatureSource
from frostline.objectives.finetune import FinetuneResult, Task, finetune, predict
from frostline.objectives.networks.network import Network
from frostline.objectives.training import loop

from ..tiny import own_task, split, task

# Without batch norms in training and dropout, which see and draw another thing for each piece. Of 30 images in batches
# of 8, two batches have 7: pieces of 3 and 4.
BASE: dict[str, Any] = {
    **{"epochs": 3, "patience": 99, "batch_size": 8, "learning_rate": 5e-3, "batch_norm": "eval", "optimizer": "sgd"},
}
CASES: dict[str, dict[str, Any]] = {
    "full": {"augmentation": "flip_crop"},
    "smoothed": {"strategy": "full", "label_smoothing": 0.2, "class_weights": "balanced"},
    "mixup": {"strategy": "full", "mixing": "mixup", "class_weights": "balanced", "label_smoothing": 0.1},
    "cutmix": {"strategy": "partial", "freeze_depth": 4, "mixing": "cutmix", "mixing_alpha": 1.0},
    "clipped": {"strategy": "partial", "freeze_depth": 6, "gradient_clip": 0.1, "ema_decay": 0.9},
    "l2_sp": {"l2_sp_alpha": 50.0, "l2_sp_beta": 1.0},
    "lp_ft": {"freeze_depth": 5, "epochs": 4, "probe_epochs": 2},
    "adam": {"strategy": "full", "optimizer": "adamw", "learning_rate": 1e-4},
}


def unbalanced_task() -> Task:
    """Half of the images are of the first class."""
    labels = np.array([0] * 15 + [1] * 10 + [2] * 5)
    return replace(own_task(), train=replace(split(30, 0), labels=labels, fingerprint="unbalanced"))


def config_of(case: str) -> Any:
    return create_config({**BASE, "strategy": case, **CASES[case]})


def run(case: str, work: Task, **more: Any) -> FinetuneResult:
    return finetune(config_of(case), work, seed=3, **more)


def assert_close(first: FinetuneResult, second: FinetuneResult, tolerance: float = 1e-5) -> None:
    for ours, theirs in zip(first.epochs, second.epochs, strict=True):
        assert (ours.train_loss, ours.val_loss) == pytest.approx((theirs.train_loss, theirs.val_loss), abs=tolerance)
        assert (ours.score, ours.learning_rates) == (theirs.score, theirs.learning_rates)
    own, other = first.network.state_dict(), second.network.state_dict()
    for name in own:
        torch.testing.assert_close(own[name], other[name], atol=tolerance, rtol=tolerance)


class Short:
    """A device on which so many images fit at once, in training or in evaluation, from some epoch on.

    Args:
        monkeypatch: Of the test.
        images: How many fit.
        training: Whether it is in training that there is too little memory.
        steps: How many batches there is enough for all the same.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, images: int, *, training: bool = True, steps: int = 0) -> None:
        classify, self.refused, self.steps = Network.classify, 0, steps

        def guarded(network: Network, features: Tensor) -> Tensor:
            if network.head.training == training and len(features) > images:
                self.steps -= 1
                if self.steps < 0:
                    self.refused += 1
                    raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.\nSee the manual.")
            return classify(network, features)

        monkeypatch.setattr(Network, "classify", guarded)


@pytest.mark.parametrize("case", CASES)
def test_batches_in_pieces_give_what_whole_ones_give(case: str):
    whole = run(case, unbalanced_task())
    pieces = run(case, replace(unbalanced_task(), micro_batches=2))
    assert {epoch.micro_batch for epoch in whole.epochs} == {None}
    assert {epoch.micro_batch for epoch in pieces.epochs} == {4}
    assert_close(whole, pieces)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("images", [2, 3, 7, 8])
def test_the_pieces_of_a_loss_add_up_to_the_mean_of_the_batch(
    weights: list[float] | None, smoothing: float, images: int
):
    draw = torch.Generator().manual_seed(images)
    logits, labels = torch.randn(images, 3, generator=draw), torch.randint(3, (images,), generator=draw)
    weight = None if weights is None else torch.tensor(weights)
    criterion = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing, reduction="sum")
    pieces = loop._pieces(images, 2)
    assert torch.cat([torch.arange(images)[piece] for piece in pieces]).tolist() == list(range(images))
    assert all(piece.stop - piece.start > 1 for piece in pieces)
    parts = [loop._share_of_loss(criterion, logits[piece], piece, labels) for piece in pieces]
    # For probabilities as targets, torch divides by the images, not by their weights.
    expected = F.cross_entropy(logits, F.one_hot(labels, 3).float(), weight=weight, label_smoothing=smoothing)
    torch.testing.assert_close(torch.stack(parts).sum(), expected)


def test_a_training_that_runs_out_of_memory_goes_on_in_halves_to_the_same_curve(monkeypatch: pytest.MonkeyPatch):
    undisturbed, states, told = run("full", own_task()), [b""], []

    class Kept:
        def save(self, state: Callable[[], bytes]) -> None:
            states.append(state())

        def load(self) -> bytes | None:
            return states[-1] or None

    # Four batches an epoch, two of them of more than seven images: memory is short in the second epoch.
    short = Short(monkeypatch, 4, steps=6)
    halved = run(
        "full", task(), on_epoch=lambda epoch: told.append((epoch.epoch, epoch.micro_batch)), checkpoints=Kept()
    )
    assert short.refused == 1
    assert told == [(0, None), (1, 4), (2, 4)]
    assert [epoch.micro_batch for epoch in halved.epochs] == [None, 4, 4]
    assert_close(undisturbed, halved)


def test_nor_does_it_matter_where_nothing_was_kept(monkeypatch: pytest.MonkeyPatch):
    undisturbed = run("lp_ft", own_task())
    short, told = Short(monkeypatch, 4, steps=9), []
    halved = run("lp_ft", task(), on_epoch=lambda epoch: told.append(epoch.epoch))
    assert (short.refused, told) == (1, [0, 1, 0, 1, 2, 3])
    assert_close(undisturbed, halved)


def test_evaluation_is_halved_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "CPU_EVALUATION_BATCH", 10)
    undisturbed = run("full", own_task())
    short = Short(monkeypatch, 5, training=False)
    halved = run("full", task())
    assert short.refused == 1
    assert {epoch.micro_batch for epoch in halved.epochs} == {4}
    assert_close(undisturbed, halved)
    probabilities = predict(halved.network, task().val, task())
    assert short.refused == 2
    monkeypatch.undo()
    np.testing.assert_allclose(probabilities, predict(halved.network, task().val, task()), atol=1e-6)


def test_halves_that_do_not_fit_either_fail_the_trial(monkeypatch: pytest.MonkeyPatch):
    short = Short(monkeypatch, 3)
    with pytest.raises(TrainingFailedError) as failure:
        run("full", task())
    assert short.refused == 2
    assert str(failure.value) == ("needs more memory than the device has at micro-batch 4: Tried to allocate 2.00 GiB.")


def test_what_training_held_is_let_go_of_before_it_begins_again():
    import weakref

    seen: list[weakref.ref[Tensor]] = []

    def work(micro_batches: int) -> list[bool]:
        if micro_batches == 2:
            return [reference() is None for reference in seen]
        held = torch.zeros(4)
        seen.append(weakref.ref(held))
        raise torch.OutOfMemoryError

    assert within_memory(work, torch.device("cpu")) == [True]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.86 GB)"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_which_errors_say_that_memory_is_short(error: Exception, expected: bool):
    assert is_out_of_memory(error) is expected


def test_a_real_allocation_that_cannot_be_is_one():
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(failure.value)


def test_other_errors_are_not_tried_again(monkeypatch: pytest.MonkeyPatch):
    begun: list[int] = []

    def batch(source: FeatureSource, *arguments: Any) -> Tensor:
        begun.append(0)
        raise RuntimeError("something else")

    monkeypatch.setattr(FeatureSource, "batch", batch)
    with pytest.raises(RuntimeError, match="something else"):
        run("full", task())
    assert begun == [0]


def test_epochs_of_earlier_versions_can_be_read():
    values = {"epoch": 0, "phase": "head", "train_loss": 1.0, "val_loss": 1.0, "score": 0.5}
    assert EpochResult(**values, learning_rates={}, seconds=1.0).micro_batch is None
