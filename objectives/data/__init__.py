"""Datasets: folders and published sets, decoded once, split, with a sealed test split."""
