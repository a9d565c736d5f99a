"""The search space: domains, defaults, TOML files, plugins."""
