"""Tracking: a journal of records, and the sender that uploads them to MLflow."""
