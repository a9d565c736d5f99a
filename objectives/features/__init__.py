"""Features of the frozen prefix: their source, their store and its cache policy."""
