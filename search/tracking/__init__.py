"""Tracking: the MLflow runs of trials, finals and the verdict, and the registered models."""
