"""Plotly charts of the report, each with a caption and a table of its numbers."""
