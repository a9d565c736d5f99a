"""Backbones of torchvision, timm or the user, traced, cut into units, with their weights."""
