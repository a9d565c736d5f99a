"""Training: the loop of a phase, optimizers, moving average, logistic regression, checkpoint, stages, certificate."""
