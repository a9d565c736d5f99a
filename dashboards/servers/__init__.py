"""Servers: the MLflow UI and the Optuna dashboard."""
