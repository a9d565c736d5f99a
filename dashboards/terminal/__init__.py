"""The terminal: live view and tables."""
