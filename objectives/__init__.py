"""The objective of a trial: datasets, backbones, heads, strategies, training. Uses torch, not Optuna or MLflow."""

import os

# Threads of torch that wait for each other spin for a short while only, then sleep. GNU OpenMP's 300,000 rounds cost
# nothing on idle cores, but where other processes use them, training takes many times as long
# (benchmarks/shared_cores.py). OpenMP reads it when torch is loaded, so it is set before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
