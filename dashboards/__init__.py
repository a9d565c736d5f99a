"""What people look at: live terminal view, charts, report, MLflow UI. Reads; knows nothing of training."""
