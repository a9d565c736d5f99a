"""Sampling: the budget of each strategy, TPE within one, the pruner, the costs of trials."""
