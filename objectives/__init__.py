"""The objective of a trial: datasets, backbones, heads, strategies, training. Uses torch, not Optuna or MLflow."""

import os

# Threads of torch that wait for each other sleep. By default they spin, which costs nothing on idle cores, but where
# other processes use them, training takes many times as long (benchmarks/shared_cores.py). OpenMP reads it when torch
# is loaded, so it is set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
