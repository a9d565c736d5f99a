"""Strategies: the registry, the twelve built in, and the plan from a configuration to its phases."""

from .catalog import *  # noqa: F403
