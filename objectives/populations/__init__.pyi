from .population import can_train_together, finetune_together

__all__ = [
    "can_train_together",
    "finetune_together",
]
