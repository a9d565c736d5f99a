"""What a trial does: data, backbones and cuts, heads, strategies, training. Knows torch, not Optuna or MLflow."""
