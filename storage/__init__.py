"""Where things are kept: workspace, databases, own tables, tracking. Knows files and SQL, not models."""
