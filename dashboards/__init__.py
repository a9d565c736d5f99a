"""Dashboards: the live terminal view, charts, the report, the MLflow UI. They read studies and train nothing."""
