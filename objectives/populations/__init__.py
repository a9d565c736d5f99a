"""Populations: many heads trained at once, with the same numbers as one at a time."""
