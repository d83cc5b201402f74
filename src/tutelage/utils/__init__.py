"""What knows nothing of distillation."""
