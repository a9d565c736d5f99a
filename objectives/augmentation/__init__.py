"""Augmentation: views, TrivialAugment and RandAugment, mixup and CutMix."""
