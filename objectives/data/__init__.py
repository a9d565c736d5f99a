"""Datasets: folders and published datasets, decoded once, split, with a sealed test split."""
