"""Numbers that follow the epoch."""
