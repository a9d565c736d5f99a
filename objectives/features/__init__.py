"""Features of the frozen prefix: their source, where they are kept, and which are worth keeping."""
