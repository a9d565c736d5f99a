"""Strategies: their registry, the twelve built-in ones, and plans from a configuration to its phases."""

from .catalog import *  # noqa: F403
