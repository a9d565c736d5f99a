"""Slots: resources, engines (this machine, Ray), and the process of a slot."""
