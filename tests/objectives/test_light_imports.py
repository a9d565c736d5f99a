"""What reading a study needs of a strategy must not load torch: it takes seconds."""

import os
import subprocess
import sys

import pytest
from torch import nn

from frostline.objectives.phases import norms_and_biases

LIGHT = ("calibration", "config", "epochs", "errors", "metrics", "phases", "sizes", "strategies", "strategies.plans")
# Every strategy's domains, parameters and phases, but for those that put a part of torch into a phase.
READ = """
import sys
for name in sys.argv[1:]:
    __import__(f"frostline.objectives.{name}")
from frostline.objectives.config import create_config
from frostline.objectives.strategies.plans import plan_phases
from frostline.objectives.strategies import STRATEGIES
for name in STRATEGIES.keys() - {"lora", "l2_sp", "linear_probe_exact"}:
    depth = {"freeze_depth": 1} if "freeze_depth" in STRATEGIES[name].takes else {}
    plan_phases(create_config({"strategy": name} | depth), 3)
assert "torch" not in sys.modules
"""


def test_strategies_are_read_and_planned_without_torch():
    subprocess.run([sys.executable, "-c", READ, *LIGHT], check=True)


# Prints how long threads spin when torch is loaded.
WAITING = """
import importlib, os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Watch())
try:
    importlib.import_module(sys.argv[1])
except ModuleNotFoundError:
    pass
"""


@pytest.mark.parametrize(
    "name", ["search.execution.session", "search.execution.slot", "objectives.finetune", "dashboards.report.thumbnails"]
)
@pytest.mark.parametrize(
    ("own", "expected"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_waiting_threads_spin_briefly_unless_the_user_says_otherwise(name: str, own: dict[str, str], expected: str):
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= own
    command = [sys.executable, "-c", WAITING, f"frostline.{name}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()
    assert set(said) <= {expected}
    assert said or name.startswith("dashboards")


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(2),
        nn.BatchNorm2d(2),
        nn.SyncBatchNorm(2),
        nn.InstanceNorm2d(2, affine=True),
        nn.LayerNorm(2),
        nn.GroupNorm(1, 2),
        nn.RMSNorm(2),
        type("Own", (nn.LayerNorm,), {})(2),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_scales_of_norms_train_where_norms_and_biases_do(norm: nn.Module):
    assert norms_and_biases(norm, "weight")


def test_other_weights_do_not_but_all_biases_do():
    own = type("LayerNorm", (nn.Linear,), {"__module__": "elsewhere"})(2, 2)
    for layer in (nn.Linear(2, 2), nn.Conv2d(2, 2, 1), own):
        assert not norms_and_biases(layer, "weight")
        assert norms_and_biases(layer, "bias")
