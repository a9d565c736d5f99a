"""Networks: frozen prefix, suffix and head put together; heads, LoRA, export."""
