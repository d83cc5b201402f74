"""General helpers that know nothing of distillation."""
