"""Storage: the workspace, databases and their tables, files, and MLflow tracking. Knows no models."""
