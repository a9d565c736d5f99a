"""Execution: supervisor and slots, workers, trials, finals and data-size curves."""
