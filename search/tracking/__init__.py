"""What trials, finals and the verdict show in MLflow."""
