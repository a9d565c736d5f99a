"""Networks: frozen prefix, trainable suffix and head; LoRA and export."""
