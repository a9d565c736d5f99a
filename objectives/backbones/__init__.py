"""Backbones: torchvision's, timm's and the user's own, traced, cut into units, with their weights."""
