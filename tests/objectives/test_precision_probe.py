"""The precision probe: it decides by what it measured, refuses what is unfit, and changes nothing."""

from __future__ import annotations

import pytest
import torch

from frostline.objectives import precision_probe
from frostline.objectives.config import BackboneSpec
from frostline.objectives.devices import has_bfloat16
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.networks.frozen_prefix import state_hash
from frostline.objectives.precision import BFLOAT16, EXACT, FLOAT32, Precision, PrecisionChoice
from frostline.objectives.precision_probe import MAX_ERROR, MIN_GAIN, choose_precision

CPU = torch.device("cpu")


@pytest.fixture
def any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every CPU and every network is measured."""
    monkeypatch.setattr(precision_probe, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision_probe, "MIN_FLOPS", 0)


def pool(name: str = "create") -> BackbonePool:
    module = "tiny_network" if name.startswith("create") else "odd_networks"
    return BackbonePool(BackboneSpec(f"{module}:{name}", "none", 32))


@pytest.mark.usefixtures("any_network")
def test_it_measures_both_parts_and_changes_nothing():
    backbones = pool()
    backbones.pretrained.model.requires_grad_(False)
    before, random, threads = backbones.fingerprint, torch.get_rng_state(), torch.get_num_threads()
    choice = choose_precision(backbones, CPU, threads=1, seconds=0.2)
    assert choice.gains is not None
    assert choice.error is not None
    assert 0 < choice.error < 0.05
    parts = (choice.precision.frozen, choice.precision.trained)
    assert parts == tuple(BFLOAT16 if gain >= MIN_GAIN else FLOAT32 for gain in choice.gains)
    assert state_hash(backbones.pretrained.model.state_dict()) == before
    assert all(value.grad is None for value in backbones.pretrained.model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert PrecisionChoice.from_row(choice.to_row()) == choice


@pytest.mark.usefixtures("any_network")
@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ((2.0, 2.0), Precision(BFLOAT16, BFLOAT16)),
        ((2.0, 0.7), Precision(BFLOAT16, FLOAT32)),
        ((1.1, 1.1), EXACT),
        ((0.5, 3.0), Precision(FLOAT32, BFLOAT16)),
    ],
)
def test_each_part_takes_what_is_faster_by_enough(
    gains: tuple[float, float], expected: Precision, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precision_probe, "_measure", lambda *given: (0.01, gains))
    assert choose_precision(pool(), CPU, threads=1).precision == expected


@pytest.mark.usefixtures("any_network")
@pytest.mark.parametrize(("name", "said"), [("cancels", "off by"), ("divides_by_zero_in_bfloat16", "not finite")])
def test_a_network_that_bfloat16_does_not_suit_stays_in_float32(name: str, said: str, monkeypatch: pytest.MonkeyPatch):
    measure = precision_probe._measure

    def faster(*given: object) -> tuple[float, tuple[float, float]]:
        return measure(*given)[0], (3.0, 3.0)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(precision_probe, "_measure", faster)
    choice = choose_precision(pool(name), CPU, threads=1, seconds=0.2)
    assert choice.precision == EXACT
    assert choice.error is not None
    assert not choice.error <= MAX_ERROR
    assert f"features are {said}" in choice.sentence


def test_a_small_network_is_not_measured():
    choice = choose_precision(pool(), CPU, threads=1)
    assert (choice.precision, choice.gains) == (EXACT, None)
    assert choice.reason


def test_nor_is_a_device_without_bfloat16(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision_probe, "has_bfloat16", lambda device: False)
    monkeypatch.setattr(precision_probe, "MIN_FLOPS", 0)
    choice = choose_precision(pool(), CPU, threads=1)
    assert choice.precision == EXACT
    assert choice.sentence == "float32: this device (cpu) has no arithmetic in bfloat16"


def test_a_cpu_whose_pytorch_lacks_onednn_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch):
    # The operation that answers is part of oneDNN's: without it, asking would raise.
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not has_bfloat16(CPU)


def test_a_cpu_has_bfloat16_where_the_system_says_so():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line.split() for line in file if line.startswith(("flags", "Features"))), [])
    except OSError:
        pytest.skip("this system has no /proc/cpuinfo")
    if "avx512_bf16" in flags:
        assert has_bfloat16(CPU)
    if "avx2" in flags and "avx512bw" not in flags and "avx_ne_convert" not in flags:
        assert not has_bfloat16(CPU)


def test_a_choice_is_said_in_words():
    choice = PrecisionChoice(Precision(BFLOAT16, FLOAT32), (2.5, 0.8), 0.01)
    assert choice.sentence == (
        "features in bfloat16, training in float32: with bfloat16 features take 0.40 and training 1.25 times as long"
    )
    assert PrecisionChoice(EXACT).sentence == "float32"
