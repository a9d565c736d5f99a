"""Sampling: the budget per strategy, TPE within a strategy, the pruner, the costs of trials."""
