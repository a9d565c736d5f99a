"""The objective of a trial: datasets, backbones, heads, strategies, training. Uses torch, not Optuna or MLflow."""
